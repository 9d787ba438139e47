"""Which groups of pictures may keep the source's bits: those in which, and in the groups beside which, nobody is seen.

Nothing covers a face in a copied group, so none may be there. Whatever the detector gives a score at all counts as
doubt, also where nothing came of it. A group beside one with a face, a doubt or damage, or within NEAR frames of that,
is rendered, too: a face was mostly there before it was found.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import ChunkAnalysis
from pipeline.copying.groups import Group, Groups
from pipeline.errors import VerifyError
from pipeline.track import KEEP, Floats, Track

Why = Literal["", "face", "doubt", "damage", "beside", "gate", "range", "cut", "packets", "decoded"]
DOUBT = KEEP  # score of a detection that could carry a track on
NEAR = 24  # frames that count as beside a group, however short its neighbours are: as long may go between full looks

Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Frames [start, stop) of one group, or of what lies in none, and whether its packets are to be copied."""

    start: int
    stop: int
    bytes: int  # of the source's packets
    why: Why  # why it is rendered; "": it is copied
    score: float  # the highest that the detector gave anything in it
    gate: float = 0.0  # and the leak gate's detector, in it and around

    @property
    def group(self) -> Group:
        """The group."""
        return Group(self.start, self.stop, self.bytes, True)


def judge(
    groups: Groups,
    edges: Sequence[int],
    analyses: Sequence[ChunkAnalysis],
    tracks: Sequence[Track],
) -> tuple[Verdict, ...]:
    """What becomes of each group of a film; () where none can be copied. `edges`: the first frame of each chunk of the
    job, and the frame after its last one; `analyses` of all of them, which may come without meshes."""
    if groups.why_none:
        return ()
    first, last = edges[0], edges[-1]
    scores, damaged = _seen(analyses, first, last)
    faces = np.zeros(last - first, np.bool_)
    for track in tracks:
        faces[track.frames[(track.frames >= first) & (track.frames < last)] - first] = True
    spans = [span for span in _spans(groups.groups, last) if span.stop > first and span.start < last]
    own = [_of(span, first, last, faces, scores, damaged) for span in spans]
    # How many frames up to each one speak against copying.
    near = np.concatenate([[0], np.cumsum(faces | damaged | (scores >= DOUBT))])
    verdicts = list[Verdict]()
    for k, (span, verdict) in enumerate(zip(spans, own, strict=True)):
        low, high = max(0, span.start - NEAR - first), min(last - first, span.stop + NEAR - first)
        beside = any(other.why for other in own[max(0, k - 1) : k + 2]) or near[high] > near[low]
        why = verdict.why or ("beside" if beside else _unfit(span, edges))
        verdicts.append(replace(verdict, why=why))
    return tuple(verdicts)


def _spans(groups: Sequence[Group], last: int) -> list[Group]:
    """The groups, and the frames that are in none."""
    spans, done = list[Group](), 0
    for group in groups:
        if group.start > done:
            spans.append(Group(done, group.start, 0, False))
        spans.append(group)
        done = group.stop
    if done < last:
        spans.append(Group(done, last, 0, False))
    return spans


def _seen(analyses: Sequence[ChunkAnalysis], first: int, last: int) -> tuple[Floats, Bool]:
    """The highest score and whether it is damaged, of each frame; of frames that nobody looked at, the worst."""
    scores, damaged = np.ones(last - first, np.float32), np.zeros(last - first, np.bool_)
    for analysis in analyses:
        if analysis.scores is not None:
            scores[analysis.start - first : analysis.stop - first] = analysis.scores
        damaged[analysis.damaged - first] = True
    return scores, damaged


def _of(span: Group, first: int, last: int, faces: Bool, scores: Floats, damaged: Bool) -> Verdict:
    """By what is seen in it alone."""
    mine = slice(max(span.start, first) - first, min(span.stop, last) - first)
    score = float(scores[mine].max())
    why: Why = "face" if faces[mine].any() else "damage" if damaged[mine].any() else "doubt" if score >= DOUBT else ""
    return Verdict(span.start, span.stop, span.bytes, why, score)


def _unfit(span: Group, edges: Sequence[int]) -> Why:
    """Why a group in which and beside which nobody is can't be copied all the same; "" if it can."""
    if span.start < edges[0] or span.stop > edges[-1]:
        return "range"
    if not span.whole:
        return "packets"
    return "cut" if any(span.start < edge < span.stop for edge in edges) else ""


def copied(verdicts: Sequence[Verdict], start: int, stop: int) -> tuple[Verdict, ...]:
    """Those within the frames [start, stop) that are copied."""
    return tuple(v for v in verdicts if not v.why and start <= v.start and v.stop <= stop)


def within(verdicts: Sequence[Verdict], start: int, stop: int) -> tuple[Verdict, ...]:
    """All that reach into the frames [start, stop), cut to them."""
    near = [v for v in verdicts if v.start < stop and v.stop > start]
    return tuple(replace(v, start=max(v.start, start), stop=min(v.stop, stop)) for v in near)


def save(verdicts: Sequence[Verdict], path: Path) -> None:
    """Write to `path`, a JSON file."""
    path.write_text(json.dumps([asdict(verdict) for verdict in verdicts]), encoding="utf-8")


def load(path: Path) -> tuple[Verdict, ...]:
    """Read what `save` wrote. Raises VerifyError when the file isn't one."""
    try:
        return tuple(Verdict(**each) for each in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise VerifyError(f"{path} doesn't tell which groups are copied", str(error), "link again") from error
