"""An attacker who adapts: it learns, from pairs of changed and untouched photos of half of the people, to tell who is
who, and is tried on the other half. It knows the method, not the secret.

The best of three counts: a small network with a tower for changed and one for untouched faces, on the recognisers'
descriptors and on pixels, trained to bring two photos of one person together (InfoNCE: van den Oord et al. 2018); a
linear map from changed to untouched descriptors (ridge regression); and the descriptors as they are.

What it is shown:
- "face": nothing outside the oval
- "face and rim": what recognisers see by themselves: a rim of hair, ears and neck as well
- "head": hair and collar, too, which Veilfarm doesn't change and doesn't promise to
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from privacy import scores
from privacy.stills import MOODS, Shot, describe
from torch import Tensor, nn

SHOWN = ("face", "face and rim", "head")
_PIXELS = 40  # px of the side of the pictures that the network sees
_MARGIN = {"face": 1.0, "face and rim": 1.0, "head": 1.8}
_STEPS, _RATE, _DECAY, _HEAT = 250, 2e-3, 2e-2, 0.1
_WIDTH, _DROP, _NOISE = 64, 0.4, 0.1
_RIDGES = (1.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True)
class Faces:
    """Photos as the attacker sees them; arrays share their first length n, the mirrored ones come after the others."""

    vectors: Tensor  # (n, d) descriptors side by side
    pixels: Tensor  # (n, 1, _PIXELS, _PIXELS) brightness about its mean
    person: np.ndarray  # (n,)
    mood: np.ndarray  # (n,) place in MOODS
    mirrored: np.ndarray  # (n,)

    def rows(self, people: np.ndarray, mirrored: bool | None = False, mood: int | None = None) -> np.ndarray:
        """Rows of these people."""
        keep = np.isin(self.person, people)
        if mirrored is not None:
            keep &= self.mirrored == mirrored
        if mood is not None:
            keep &= self.mood == mood
        return np.flatnonzero(keep)


def seen(shots: list[Shot], shown: str) -> Faces:
    """The photos as the attacker sees them."""
    vectors, pixels = list[Tensor](), list[Tensor]()
    bare = shown == "face"
    for mirrored in (False, True):
        found = describe(shots, bare, mirrored)
        names = [n for n in found if n != "faceres with hair" or shown == "head"]
        vectors.append(torch.cat([torch.from_numpy(found[n]) for n in names], 1))
        crops = [s.view(shown != "head", mirrored).square(_MARGIN[shown], _PIXELS).mean(0, keepdim=True) for s in shots]
        pixels.append(torch.stack([(c - c.mean()) / c.std().clamp_min(1e-3) for c in crops]))
    count = len(shots)
    return Faces(
        torch.cat(vectors),
        torch.cat(pixels),
        np.tile([s.person for s in shots], 2),
        np.tile([MOODS.index(s.mood) for s in shots], 2),
        np.repeat([False, True], count),
    )


class _Tower(nn.Module):
    """A face to a direction."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 24, 3, 2), nn.ReLU(), nn.Conv2d(24, 24, 3, 2), nn.ReLU(),
            nn.Flatten(), nn.LazyLinear(_WIDTH),
        )  # fmt: skip
        self.read = nn.Sequential(nn.Dropout(_DROP), nn.Linear(length, _WIDTH))
        self.join = nn.Sequential(nn.ReLU(), nn.Dropout(_DROP), nn.Linear(2 * _WIDTH, _WIDTH))

    def forward(self, vectors: Tensor, pixels: Tensor) -> Tensor:
        """(n, _WIDTH) unit vectors."""
        both = torch.cat([self.read(vectors), self.look(pixels)], 1)
        # What is read goes past the last layers as well: thirty people are too few to learn everything anew.
        return F.normalize(self.join(both) + both[:, :_WIDTH], dim=1)


def _scaled(faces: Faces, rows: np.ndarray) -> Tensor:
    """All vectors in deviations of the given rows."""
    known = faces.vectors[rows]
    return (faces.vectors - known.mean(0)) / known.std(0).clamp_min(1e-4)


def network(changed: Faces, untouched: Faces, learn: np.ndarray, seed: int) -> Tensor:
    """(n, m) likeness of all changed and all untouched photos, learned from the people `learn`."""
    torch.manual_seed(seed)
    dice = np.random.default_rng(seed)
    a = _scaled(changed, changed.rows(learn, None))
    b = _scaled(untouched, untouched.rows(learn, None))
    towers = nn.ModuleList([_Tower(a.shape[1]), _Tower(b.shape[1])])
    with torch.no_grad():
        towers[0](a[:2], changed.pixels[:2])
        towers[1](b[:2], untouched.pixels[:2])
    towers[1].load_state_dict(towers[0].state_dict())
    optimiser = torch.optim.AdamW(towers.parameters(), _RATE, weight_decay=_DECAY)
    pools = [{(p, m): f.rows(np.array([p]), m) for p in learn for m in (False, True)} for f in (changed, untouched)]
    goal = torch.arange(len(learn))
    for _ in range(_STEPS):
        mirrored = bool(dice.integers(2))
        i, j = (np.array([dice.choice(pool[p, mirrored]) for p in learn]) for pool in pools)
        u = towers[0](a[i] + _NOISE * torch.randn(len(i), a.shape[1]), changed.pixels[i])
        v = towers[1](b[j] + _NOISE * torch.randn(len(j), b.shape[1]), untouched.pixels[j])
        like = u @ v.T / _HEAT
        loss = F.cross_entropy(like, goal) + F.cross_entropy(like.T, goal)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    towers.eval()
    with torch.inference_mode():
        result: Tensor = towers[0](a, changed.pixels) @ towers[1](b, untouched.pixels).T
    return result


def linear(changed: Faces, untouched: Faces, learn: np.ndarray, ridge: float) -> Tensor:
    """The same by ridge regression on all pairs of photos of one person."""
    rows, targets = list[int](), list[int]()
    for person in learn:
        for mirrored in (False, True):
            for i in changed.rows(np.array([person]), mirrored):
                for j in untouched.rows(np.array([person]), mirrored):
                    rows.append(int(i))
                    targets.append(int(j))
    a, b = _scaled(changed, np.unique(rows)), _scaled(untouched, np.unique(targets))
    x, y = a[rows], b[targets]
    kernel = x @ x.T / x.shape[1]  # fewer pairs than descriptors are long
    weights = torch.linalg.solve(kernel + ridge * torch.eye(len(x)), y)
    guessed = (a @ x.T / x.shape[1]) @ weights
    return F.normalize(guessed, dim=1) @ F.normalize(b, dim=1).T


def tried(likeness: Tensor, changed: Faces, untouched: Faces, people: np.ndarray) -> float:
    """Rank-1 of these people's changed photos against the untouched photos of the other mood."""
    shares = []
    for mood in range(len(MOODS)):
        probes, gallery = changed.rows(people, mood=mood), untouched.rows(people, mood=1 - mood)
        places = np.searchsorted(people, changed.person[probes])
        assert (untouched.person[gallery] == people).all()
        shares.append(scores.rank1(-likeness[probes][:, gallery].numpy().astype(np.float64), places))
    return float(np.mean(shares))


def attack(changed: Faces, untouched: Faces, folds: int) -> dict[str, float]:
    """Rank-1 of each attacker on people that it hasn't seen, the mean over `folds` halves and their opposites."""
    everyone = np.unique(changed.person)
    results: dict[str, list[float]] = {"untrained": [], "network": [], "linear": []}
    for fold in range(folds):
        order = np.random.default_rng(fold // 2).permutation(everyone)
        half = len(order) // 2
        learn, test = (
            np.sort(part) for part in ((order[:half], order[half:]) if fold % 2 else (order[half:], order[:half]))
        )
        plain = F.normalize(changed.vectors, dim=1) @ F.normalize(untouched.vectors, dim=1).T
        results["untrained"].append(tried(plain, changed, untouched, test))
        results["network"].append(tried(network(changed, untouched, learn, fold), changed, untouched, test))
        linears = [tried(linear(changed, untouched, learn, r), changed, untouched, test) for r in _RIDGES]
        results["linear"].append(max(linears))  # in the attacker's favour: the best strength is known to it
    return {name: float(np.mean(found)) for name, found in results.items()}
