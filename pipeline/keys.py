"""A name for each person from which the identity is drawn.

Within one job any stable order will do: the secret is random and forgotten. With a project key the same person shall
get the same face in several jobs, and nothing about the person may be stored between them. So the name is computed from
the face: the nearest of a few random directions (drawn from the key) in the recogniser's space, seen from the mean of
the model's portraits. That works often, not always. Measured on 60 people, one neutral and one smiling photo each, over
40 keys (same direction for both photos / for two different people):

    words   8     16    32    64
    same   74 %  69 %  65 %  62 %
    shared 19 %  11 %   7 %   5 %

Several people of one film that fall to the same direction are given their next best, which depends on who else is in
the film. So `--seed-key` keeps most faces over several jobs, and must not be relied on for all.
"""

import hashlib
import hmac
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.track import Floats, Sample

WORDS = 32  # directions: fewer are steadier, more keep different people apart


def person_keys(people: Sequence[Sequence[Sample]], project: bytes | None, centre: Floats | None = None) -> list[str]:
    """One distinct key per person, in their order. `project` is the secret that several jobs share, or None; `centre`
    (128,) is the middle of the recogniser's space."""
    if project is None:
        return [f"person {i}" for i in range(len(people))]
    book = codebook(project, WORDS)
    keys, used = list[str](), set[int]()
    for number, samples in enumerate(people):
        if not samples:
            keys.append(f"unknown {number}")
            continue
        mean = np.mean([s.embedding for s in samples], axis=0, dtype=np.float32)
        order = np.argsort(-(book @ (mean if centre is None else mean - centre)), kind="stable")
        free = [int(w) for w in order if int(w) not in used]
        # More people than words: they share words, told apart by number.
        word = free[0] if free else int(order[0])
        keys.append(f"word {word}" if free else f"word {word} {number}")
        used.add(word)
    return keys


def codebook(project: bytes, words: int, width: int = 128) -> Floats:
    """(words, width) unit vectors drawn from the key."""
    seed = hmac.new(project, b"veilfarm directions", hashlib.sha256).digest()
    draw: NDArray[np.float64] = np.random.Generator(np.random.PCG64(list(seed))).standard_normal((words, width))
    return np.asarray(draw / np.linalg.norm(draw, axis=1, keepdims=True), np.float32)
