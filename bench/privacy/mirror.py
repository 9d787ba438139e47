"""A second look at the same face: in a mirror.

Networks of landmarks err, and on a face of 60 px more than its lips move. A second encoding of the source doesn't show
how much: the pictures are nearly the same, and so are the errors. In a mirror the face is the same, too, and the errors
are others. How well the source agrees with its own mirrored picture is about as well as anything can agree with it. For
lids it says less: their network is shown every eye as a left one, so only where it looks changes.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.picture import Picture
from pipeline.shape import mean_shape

Floats = NDArray[np.float32]


def picture(one: Picture) -> Picture:
    """The picture with left and right exchanged."""
    y, cb, cr = (plane.flip(1) for plane in one.planes)
    return Picture(one.number, one.pts, (y, cb, cr), one.layout)


def boxes(found: Floats, width: int) -> Floats:
    """Boxes (n, 4) xyxy of a picture so many px wide, in its mirrored picture."""
    return np.asarray(np.stack([width - found[:, 2], found[:, 1], width - found[:, 0], found[:, 3]], 1), np.float32)


def meshes(found: Floats, width: int) -> Floats:
    """Landmarks (n, 468, 3) in a mirrored picture, back in the picture itself: the person's left is left again."""
    back = found[:, points()].copy()
    back[..., 0] = width - back[..., 0]
    return back


def eyes(lids: Floats, iris: Floats) -> tuple[Floats, Floats]:
    """Lids (n, 2) and irises (n, 2, 2) in a mirrored picture, back in the picture itself."""
    return lids[:, ::-1], iris[:, ::-1] * np.array([-1, 1], np.float32)


@lru_cache(maxsize=1)
def points() -> NDArray[np.int64]:
    """(468,) which point is each one's counterpart on the other side of the face."""
    shape = mean_shape()
    return torch.cdist(shape * torch.tensor([-1.0, 1, 1]), shape).argmin(1).numpy()
