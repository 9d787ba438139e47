"""Glasses: their frames, and lenses too dark to see through, stay on the new face.

Whoever wears glasses wears them in every good look, so comparing a face with its own reference tells nothing. A small
network (`tools/build_glasses.py` made it) sees one face at a time, around the eyes, and tells two things: what is
frame, and what is dark lens. It opens little, and in doubt nothing:

- a track has glasses only if most of its good looks show them, around both eyes;
- on each frame only what lies near the glasses of those looks may be frame;
- at most MOST of the face is opened, and a lens only where it is dark on every good look.

Where the mask is open the new face isn't laid on, and the frame shows, warped as the face around it is: the rim sits on
the new eyes as it sat on the old ones, and meets its own arms beside the face.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.appearance import EPS, face_mask, plain_mask, unwrap
from pipeline.models.graph import Runtime, runtime
from pipeline.occlude import texture
from pipeline.picture import Picture
from pipeline.track import Sample

SIZE = 192  # pixels of the textures that the network sees
BAND = (24, 120)  # rows of them: from above the brows to below the cheekbones
FRAME, LENS = 0, 1  # what it tells
LEAST = 60.0  # px of a texture that are surely frame or lens on either side, at least; bare faces have up to 22
BRIDGE = slice(SIZE // 2 - 8, SIZE // 2 + 8)  # columns over the nose, ...
SPAN = 20.0  # ... and px of frame in them, at least: wrinkles lie on both sides, and little joins them
ALIKE = 0.25  # of the larger side's, what the smaller side must have
SURE, DOUBT = 0.5, 0.25  # probability from which on the mask is open, and up to which it is closed
ROOM = 15  # px; frames move by half of this against the skin, when a head turns or a brow is raised
BLACK = 0.5  # how bright a lens may be against the skin of the face on any look: what is behind it can't be seen
MOST, CLOSED = 0.38, 0.45  # share of the face that may be open, large sunglasses; up to which it closes


def inputs(faces: Tensor) -> Tensor:
    """What the network sees, (F, 5, 96, SIZE), of faces (F, 3, SIZE, SIZE) in logarithms: colours around the eyes
    against plain skin, in units of the face's own contrast, and the place."""
    plain, face = plain_mask(SIZE, faces.device), face_mask(SIZE, faces.device)
    skin = (faces * plain).sum((2, 3), keepdim=True) / plain.sum()
    spread = (((faces - skin).square().mean(1, keepdim=True) * face).sum((2, 3), keepdim=True) / face.sum()).sqrt()
    seen = ((faces - skin) / (3 * spread.clamp_min(0.1)))[..., BAND[0] : BAND[1], :]
    axis = (torch.arange(SIZE, device=faces.device) + 0.5) / SIZE * 2 - 1
    y = axis[BAND[0] : BAND[1], None].expand(-1, SIZE)
    where = torch.stack([axis.expand_as(y), y])[None].expand(len(faces), -1, -1, -1)
    return torch.cat([seen, where], 1)


def looks(samples: Iterable[Sample]) -> Tensor:
    """(N, 3, SIZE, SIZE) logarithms: good looks at one face."""
    found = []
    for sample in samples:
        crop = torch.from_numpy(sample.whole().crop).float() / 255
        found.append(torch.log(unwrap(crop, torch.from_numpy(sample.mesh), SIZE) + EPS))
    return torch.stack(found) if found else torch.zeros(0, 3, SIZE, SIZE)


def _inside(device: torch.device) -> Tensor:
    """(1, 1, 96, SIZE) 1 on the face."""
    return face_mask(SIZE, device)[..., BAND[0] : BAND[1], :]


def usual(told: Tensor, faces: Tensor) -> Tensor | None:
    """(2, 96, SIZE) frame and dark lens as most looks show them, from what the network tells of each (N, 2, 96, SIZE)
    and the looks themselves (N, 3, SIZE, SIZE). None when most show no glasses."""
    if not len(told):
        return None
    steady = told.median(0).values * _inside(told.device)[0]
    plain = plain_mask(SIZE, faces.device)
    skin = torch.exp((faces.mean(1, keepdim=True) * plain).sum((1, 2, 3)) / plain.sum()) - EPS
    light = (torch.exp(faces.mean(1)) - EPS)[:, BAND[0] : BAND[1]] / skin.clamp_min(0.02)[:, None, None]
    steady[LENS] *= (light.amax(0) < BLACK).float()
    both = (steady.amax(0) > SURE).float()
    left, right = float(both[:, SIZE // 2 :].sum()), float(both[:, : SIZE // 2].sum())
    joined = float((steady[FRAME, :, BRIDGE] > SURE).sum())
    if min(left, right) < max(LEAST, ALIKE * max(left, right)) or joined < SPAN:
        return None
    return steady


def opened(told: Tensor, steady: Tensor) -> Tensor:
    """Masks (F, 1, SIZE, SIZE) of what the network tells of frames (F, 2, 96, SIZE), near what is usual (2, 96, SIZE).
    Frames move a little against the skin, lenses stay behind them."""
    near = F.max_pool2d((steady > DOUBT).float()[None], ROOM, 1, ROOM // 2)
    near[:, LENS] *= F.max_pool2d(near[:, LENS], 5, 1, 2)
    found = (told * near).amax(1, keepdim=True) * _inside(told.device)
    t = ((found - DOUBT) / (SURE - DOUBT)).clamp(0, 1)
    mask = t * t * (3 - 2 * t)
    share = mask.sum((1, 2, 3), keepdim=True) / face_mask(SIZE, told.device).sum()
    mask = mask * ((CLOSED - share) / (CLOSED - MOST)).clamp(0, 1)
    return F.pad(mask, (0, 0, BAND[0], SIZE - BAND[1]))


class Optician:
    """Finds the glasses on the faces of one chunk. Keeps the last look at each track, so that masks are steady over
    the borders of batches."""

    def __init__(self, samples: dict[int, Tensor], device: torch.device, threads: int = 1) -> None:
        """`samples` by track, as `looks` gives them. Raises ModelError, DeviceError."""
        self._run: Runtime = runtime("glasses", device, threads=threads)
        self._usual, self._last = dict[int, Tensor](), dict[int, Tensor]()
        for track, faces in samples.items():
            if len(faces):
                seen = faces.to(device)
                steady = usual(self._run(inputs(seen))[0], seen)
                if steady is not None:
                    self._usual[track] = steady

    def masks(self, faces: Sequence[tuple[Picture, int, Tensor]]) -> list[Tensor | None]:
        """For each face (picture, track, mesh (468, 3) px) the mask (1, SIZE, SIZE) of its glasses, in the plane of
        `uv`; None where it has none. Frames of a track come in order, batch after batch."""
        result: list[Tensor | None] = [None] * len(faces)
        for track in sorted({t for _, t, _ in faces} & self._usual.keys()):
            rows = [i for i, (_, t, _) in enumerate(faces) if t == track]
            seen = torch.stack([texture(faces[i][0], faces[i][2], SIZE) for i in rows])
            told = self._steady(track, self._run(inputs(seen))[0])
            for i, mask in zip(rows, opened(told, self._usual[track]), strict=True):
                result[i] = mask
        return result

    def _steady(self, track: int, told: Tensor) -> Tensor:
        """Each probability as the mean of three looks in a row, the middle one counting double."""
        chain = torch.cat([self._last.get(track, told[0])[None], told, told[-1:]])
        self._last[track] = told[-1]
        return (chain[:-2] + 2 * chain[1:-1] + chain[2:]) / 4
