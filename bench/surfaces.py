"""Faces that aren't in the room: on posters, on a screen, in a mirror. Are they hidden, too?

    python bench/surfaces.py

Makes three films from the photos and clips of ../shared/data, with the boxes that the faces have by construction, and
holds each against what `veilfarm swap` makes of it, as `bench/left.py` does.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import left
import numpy as np
from clips import OUT, VIDEOS, truth

FOLDER = OUT / "surfaces"
LONDON = VIDEOS.parent / "london"
WIDTH, HEIGHT, FRAMES, RATE = 1280, 720, 100, 25
POSTERS = (
    (90, 60, 24),
    (300, 70, 32),
    (620, 50, 48),
    (100, 330, 64),
    (420, 250, 100),
    (800, 120, 160),
)  # x, y, face px
ORIGINAL = 1350  # px, height of the photos that the points were set in
SCREEN = ((180, 150), (640, 110), (650, 430), (170, 400))  # corners, turned to the side
Film = Iterator[tuple[np.ndarray, list[np.ndarray]]]  # BGR, and corners (4, 2) of each face


def wall(seed: int) -> np.ndarray:
    """A room's wall, larger than a frame: a gradient with stains and a skirting board."""
    rng = np.random.default_rng(seed)
    stains = cv2.GaussianBlur(rng.normal(0, 40, (HEIGHT + 100, WIDTH + 200)).astype(np.float32), (0, 0), 25)
    grain = rng.normal(0, 2, stains.shape).astype(np.float32)
    light = np.linspace(190, 140, stains.shape[1], dtype=np.float32)[None]
    grey = np.clip(light + stains * 4 + grain, 0, 255)
    grey[-120:] *= 0.55
    return np.stack([grey * 0.9, grey * 0.97, grey], 2).astype(np.uint8)


def square(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The corners (4, 2) of a box."""
    return np.array([low, [high[0], low[1]], high, [low[0], high[1]]], np.float32)


def laid(scene: np.ndarray, flat: np.ndarray, faces: list[np.ndarray], corners: np.ndarray) -> list[np.ndarray]:
    """Put a flat picture into the scene, by its corners; returns where the faces in it come to lie."""
    height, width = flat.shape[:2]
    rim = square(np.zeros(2), np.array([width, height]))
    matrix = cv2.getPerspectiveTransform(rim, np.asarray(corners, np.float32))
    size = (scene.shape[1], scene.shape[0])
    # Shrunk first, as areas: warping alone would alias.
    ratio = float(np.linalg.norm(corners[1] - corners[0])) / width
    if ratio < 1:
        small = cv2.resize(flat, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        shrink = np.diag([width / small.shape[1], height / small.shape[0], 1.0])
        drawn, matrix_small = small, matrix @ shrink
    else:
        drawn, matrix_small = flat, matrix
    picture = cv2.warpPerspective(drawn, matrix_small, size, flags=cv2.INTER_LINEAR)
    where = cv2.warpPerspective(np.full(drawn.shape[:2], 255, np.uint8), matrix_small, size)[..., None] / 255.0
    scene[:] = (scene * (1 - where) + picture * where).astype(np.uint8)
    return [cv2.perspectiveTransform(face[None], matrix)[0] for face in faces]


def photo(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A photo of the London set with a white rim, as a poster, and the corners of its face, by the given eyes."""
    picture = cv2.imread(str(LONDON / f"{name}.jpg"))
    lines = (LONDON / f"{name}.tem").read_text().split("\n")[1:3]
    eyes = np.array([[float(v) for v in line.split()] for line in lines], np.float32)
    eyes *= picture.shape[0] / ORIGINAL  # the photos were made smaller, the points weren't
    middle, apart = eyes.mean(0), float(np.linalg.norm(eyes[1] - eyes[0]))
    low, high = (middle + apart * np.array(part) for part in ((-0.95, -0.7), (0.95, 1.7)))
    rim = int(apart * 0.3)
    framed = cv2.copyMakeBorder(picture, rim, rim, rim, rim, cv2.BORDER_CONSTANT, value=(235, 240, 240))
    return framed, square(low + rim, high + rim)


def posters() -> Film:
    """Six photos on a wall, some of them turned to the side; the camera moves along."""
    names = sorted(p.stem for p in LONDON.glob("*_neutral.tem"))[:: 60 // len(POSTERS)]
    scene, faces = wall(1), list[np.ndarray]()
    for k, ((x, y, side), name) in enumerate(zip(POSTERS, names, strict=False)):
        flat, face = photo(name)
        scale = side / float(face[2, 1] - face[0, 1])
        width, height = flat.shape[1] * scale, flat.shape[0] * scale
        slant = (k % 3 - 1) * 0.12 * height  # a poster that is seen from the side
        corners = square(np.array([x, y]), np.array([x + width * 0.9, y + height]))
        corners[[1, 2], 1] += [slant, -slant]
        faces += laid(scene, flat, [face], corners)
    for n in range(FRAMES):
        at = np.array([40 + 40 * np.sin(n / 30), 20 + 15 * np.cos(n / 22)])
        yield shifted(scene, at), [face - at.astype(np.float32) for face in faces]


def shifted(scene: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The frame that a camera sees which is `at` px to the right and below."""
    move = np.array([[1, 0, -at[0]], [0, 1, -at[1]]], np.float32)
    return cv2.warpAffine(scene, move, (WIDTH, HEIGHT))


def screen() -> Film:
    """A film of a person who speaks, on a monitor that is seen from the side."""
    source, boxes = VIDEOS / "grid_bbaf2n.mpg", truth(VIDEOS / "grid_bbaf2n.mpg")
    assert boxes is not None
    ground = wall(2)[:HEIGHT, :WIDTH]
    for (frame, faces), _ in zip(looped(source, boxes), range(FRAMES), strict=False):
        scene = ground.copy()
        case = np.array(SCREEN, np.float32) + np.array([[-12, -12], [12, -12], [12, 12], [-12, 12]], np.float32)
        cv2.fillConvexPoly(scene, case.astype(np.int32), (25, 25, 28))
        yield scene, laid(scene, frame, faces, np.array(SCREEN, np.float32))


def mirror() -> Film:
    """A person, and the same in a mirror behind: darker, the other way round and smaller."""
    source, boxes = VIDEOS / "pyfeat_single_face.mp4", truth(VIDEOS / "pyfeat_single_face.mp4")
    assert boxes is not None
    for (frame, faces), _ in zip(looped(source, boxes), range(FRAMES), strict=False):
        scale = HEIGHT / frame.shape[0]
        near = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:, :WIDTH]
        scene = wall(3)[:HEIGHT, :WIDTH].copy()
        width = near.shape[1]
        keep = min(width, WIDTH * 2 // 3)
        scene[:, :keep] = near[:, :keep]
        found = [face * scale for face in faces]
        glass = (cv2.flip(frame, 1) * 0.75).astype(np.uint8)
        swapped = [np.array([frame.shape[1], 0], np.float32) + face * np.array([-1, 1], np.float32) for face in faces]
        left_edge, right_edge = keep + 20, WIDTH - 20
        tall = (right_edge - left_edge) * frame.shape[0] / frame.shape[1]
        corners = square(np.array([left_edge, 80.0]), np.array([right_edge, 80 + tall]))
        yield scene, found + laid(scene, glass, swapped, corners)


def looped(source: Path, boxes: list[np.ndarray]) -> Film:
    """A clip again and again: BGR, and its faces."""
    while True:
        with av.open(str(source)) as container:
            for frame, of_frame in zip(container.decode(video=0), boxes, strict=False):
                yield frame.to_ndarray(format="bgr24"), [square(b[:2], b[2:]) for b in of_frame]


def write(name: str, film: Film) -> None:
    """The film, and its boxes beside it."""
    target, boxes = FOLDER / f"{name}.mp4", []
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture, faces in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            lows = [np.concatenate([f.min(0), f.max(0) - f.min(0)]).round(1).tolist() for f in faces]
            boxes.append([{"id": k, "box": box} for k, box in enumerate(lows)])
        container.mux(stream.encode())
    target.with_name(target.name + ".gt.json").write_text(json.dumps({"faces_per_frame": boxes}))


def main() -> int:
    """Exit code: whether a face of 24 px and more was left."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, film in (("posters", posters()), ("screen", screen()), ("mirror", mirror())):
        write(name, film)
    lines, clean = left.measure(FOLDER)
    print("\n".join(lines))
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
