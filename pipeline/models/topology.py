"""The 468-point mesh: its triangles and the lines that have a name.

From MediaPipe's tessellation (Apache-2.0), by `tools/convert_facemesh.py`. 852 triangles cover the face inside the oval
with three holes: both eyes and the inside of the lips. `filled()` closes them with 46 more. "Left" and "right" are the
person's own, so the left eye lies to the right in a picture.
"""

from functools import lru_cache

import numpy as np

from pipeline.models import weights

POINTS = 468


# Single points that other modules need.
RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER = 33, 133, 362, 263
NOSE_TIP, NOSE_BASE, FOREHEAD, CHIN = 1, 2, 10, 152
MOUTH_RIGHT, MOUTH_LEFT, LIP_UPPER, LIP_LOWER = 61, 291, 13, 14


@lru_cache(maxsize=1)
def _stored() -> dict[str, np.ndarray]:
    return {name: value.astype(np.int64) for name, value in weights.arrays("topology").items()}


def triangles() -> np.ndarray:
    """(852, 3) int64 point numbers, all wound the same way. Eyes and the inside of the mouth are holes."""
    return _stored()["triangles"]


def ring(name: str) -> np.ndarray:
    """Point numbers (n,) int64 along a closed line: oval (36), left_eye, right_eye (16 each), lips_outer,
    lips_inner (20 each)."""
    return _stored()[name]


def points(name: str) -> np.ndarray:
    """Point numbers (10,) int64 of left_brow or right_brow, not in order."""
    return _stored()[name]


@lru_cache(maxsize=1)
def filled() -> np.ndarray:
    """(898, 3) int64: the triangles and those that close the eyes and the mouth, each hole as a strip between its upper
    and its lower edge."""
    holes = [_strip(ring(name), start) for name, start in (("left_eye", 263), ("right_eye", 33), ("lips_inner", 78))]
    return np.concatenate([triangles(), *holes])


def _strip(hole: np.ndarray, corner: int) -> np.ndarray:
    """Zigzag triangles from one corner of an even ring to the opposite one, wound like the mesh around it."""
    n = len(hole)
    loop = np.roll(hole, -int(np.flatnonzero(hole == corner)[0]))
    there, back = [int(p) for p in loop[: n // 2 + 1]], [int(loop[-i % n]) for i in range(n // 2 + 1)]
    faces = []
    for i in range(n // 2):
        if i > 0:
            faces.append((there[i], there[i + 1], back[i]))
        if i < n // 2 - 1:
            faces.append((there[i + 1], back[i + 1], back[i]))
    directed = {(int(t[i]), int(t[(i + 1) % 3])) for t in triangles() for i in range(3)}
    flip = (there[0], there[1]) in directed  # two neighbours walk their common edge in opposite directions
    return np.array([face[::-1] if flip else face for face in faces], np.int64)
