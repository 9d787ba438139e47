"""The film that the project makes itself: people of nobody in a room, with sound, and the truth about every frame.

For `make demo`, and for tests that need faces whose places are known. Nobody real is in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import OutputError
from pipeline.models.topology import LEFT_EYE_OUTER, LIP_LOWER, LIP_UPPER, RIGHT_EYE_OUTER
from pipeline.picture import Box
from pipeline.shape import pose
from pipeline.stage import room
from pipeline.stage.acting import CAST, Actor, actors, raised
from pipeline.stage.canvas import Canvas
from pipeline.stage.hand import draw_hand
from pipeline.stage.portray import Drawn, Place, draw
from pipeline.stage.puppet import Floats, Puppet, load
from pipeline.stage.speech import room_tone
from pipeline.stage.truth import OCCLUDED, FaceTruth, FilmTruth

__all__ = ["CAST", "FaceTruth", "FilmTruth", "make_film"]

RATE = 48_000  # samples per second of the sound
CUT = 0.7  # share of the film at which it cuts to a close-up
GRAIN = 1.2  # standard deviation of the camera's noise, in 8-bit steps
_PAN = {"talker": 0.38, "hand": 0.64}  # 0 is the left speaker
_HATCH_ROLE = "far"

_Layer = tuple[Box, Tensor]  # something in front: where, and how much it covers


@dataclass(frozen=True, eq=False)
class _Shot:
    """Frames from one place."""

    start: int
    stop: int
    camera: room.Camera
    scenery: room.Set
    cast: tuple[Actor, ...]


def make_film(
    path: Path,
    seconds: Fraction | float = 12,
    seed: int = 1,
    *,
    size: tuple[int, int] = (1280, 720),
    fps: Fraction | int = Fraction(30000, 1001),
    cast: tuple[str, ...] = CAST,
    cuts: bool = True,
    meshes: bool = True,
    threads: int = 1,
) -> FilmTruth:
    """Write a film and say what is in it. The same arguments give the same film on the same machine.

    H.264 with B-frames and AAC stereo, in the container of the path's suffix (mp4, mov, mkv). `cast` are names of
    CAST; one or two people at the table are taken from nearer. With `cuts` the last third is a close-up of one of them.
    `threads` are the encoder's. Without `meshes` the truth has none ((0, 3) each): for long films.
    Raises OutputError, ModelError, ValueError for a size that isn't even or a role that isn't known.
    """
    fps = Fraction(fps)
    width, height = size
    if width % 2 or height % 2 or min(size) < 64:
        raise ValueError(f"a film of {width}x{height}: sides must be even and at least 64")
    count = max(1, round(Fraction(seconds) * fps))
    people = actors(cast, count / float(fps), seed)
    with _one_thread():
        shots = _shots(people, count, size, seed, cuts)
    frames: list[tuple[FaceTruth, ...]] = []
    try:
        with _one_thread(), _Writer(path, size, fps, threads) as writer:
            for shot in shots:
                for planes, faces in _pictures(shot, size, fps, seed):
                    frames.append(faces if meshes else tuple(replace(f, mesh=f.mesh[:0].copy()) for f in faces))
                    writer.write(planes, people, seed)
            writer.finish()
    except (av.error.FFmpegError, OSError) as error:
        path.unlink(missing_ok=True)
        raise OutputError(f"the film {path} can't be written", str(error)) from error
    return FilmTruth(fps, size, tuple(frames), tuple(s.start for s in shots[1:]), CAST)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch's work here is in many small pieces, on which more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _shots(people: list[Actor], count: int, size: tuple[int, int], seed: int, cuts: bool) -> list[_Shot]:
    seated = [a for a in people if a.role.name in ("talker", "hand")]
    camera = room.Camera()
    if len(seated) == len(people):
        middle = sum(a.role.x for a in seated) / len(seated)
        camera = room.Camera(middle, 348, 1.3 if len(seated) > 1 else 1.9, 1.8)
    star = seated[0] if seated and cuts and count > 3 else None
    cut = round(count * CUT) if star else count
    shots = [_Shot(0, cut, camera, room.build(camera, size, seed), tuple(people))]
    if star:
        close = room.Camera(star.role.x + 25, star.role.y + 28, 2.35, 4.0)
        shots.append(_Shot(cut, count, close, room.build(close, size, seed), (star,)))
    return shots


def _pictures(
    shot: _Shot, size: tuple[int, int], fps: Fraction, seed: int
) -> Iterator[tuple[NDArray[np.uint8], tuple[FaceTruth, ...]]]:
    """Frame after frame of a shot: planes as PyAV wants them, (H * 3 / 2, W), and the truth."""
    width, height = size
    dice = torch.Generator().manual_seed(seed * 1009 + shot.start)
    noise = torch.randn(height + 64, width + 64, generator=dice) * GRAIN + 0.5
    canvas = Canvas(torch.empty(height, width), torch.empty(2, height // 2, width // 2))
    for number in range(shot.start, shot.stop):
        canvas.luma.copy_(shot.scenery.back.luma)
        canvas.chroma.copy_(shot.scenery.back.chroma)
        faces = _stage(shot, canvas, number, fps)
        x, y = (int(v) for v in torch.randint(0, 64, (2,), generator=dice))
        luma = (canvas.luma + noise[y : y + height, x : x + width]).clamp_(16, 235).to(torch.uint8)
        chroma = (canvas.chroma + 0.5).clamp_(16, 240).to(torch.uint8)
        yield np.concatenate([luma.numpy().reshape(-1), chroma.numpy().reshape(-1)]).reshape(-1, width), faces


def _stage(shot: _Shot, canvas: Canvas, number: int, fps: Fraction) -> tuple[FaceTruth, ...]:
    """Draw everyone, the farthest first, and the table."""
    t, shot_seconds = float(number / fps), float((shot.stop - shot.start) / fps)
    since = t - float(shot.start / fps)
    shown: list[tuple[Actor, Puppet, Drawn]] = []
    layers: list[list[_Layer]] = []  # before each of the people, in their order
    for actor in shot.cast:
        puppet, drawn = _person(actor, shot.camera, canvas, t, since, shot_seconds)
        for before in layers:
            before.append((drawn.box, drawn.alpha))
        shown.append((actor, puppet, drawn))
        layers.append([])
        if actor.role.name == _HATCH_ROLE and shot.camera.zoom == 1:
            layers[-1] += _behind_hatch(shot, canvas, drawn)
        if actor.role.name == "hand" and (level := raised(since, shot_seconds)) > 0 and shot.start == 0:
            hand = _hand(actor, puppet, drawn, canvas, level, t)
            for before in layers:
                before.append(hand)
    cover, table = shot.scenery.table_cover, shot.scenery.table
    whole = (0, 0, *canvas.size)
    canvas.lay(whole, table.luma, table.chroma, cover)
    for before in layers:
        before.append((whole, cover))
    faces = [_truth(a, d, before, canvas.size) for (a, _, d), before in zip(shown, layers, strict=True)]
    return tuple(face for face in faces if face is not None)


def _person(
    actor: Actor, camera: room.Camera, canvas: Canvas, t: float, since: float, shot_seconds: float
) -> tuple[Puppet, Drawn]:
    role, puppet, moves = actor.role, load(actor.role.name), actor.moves(t)
    x, y, sway = actor.walked(since, shot_seconds)
    mesh = puppet.mesh.points
    scale = camera.scale(canvas.size[1]) * role.face / float(np.ptp(mesh[:, 1]))
    place = Place(*camera.place(x, y, canvas.size), scale, role.light, role.soft)
    return puppet, draw(puppet, moves.leaning(sway), place, canvas)


def _behind_hatch(shot: _Shot, canvas: Canvas, drawn: Drawn) -> list[_Layer]:
    """Put the wall back over what of a person lies outside the hatch."""
    x0, y0, x1, y1 = drawn.box
    if x1 <= x0 or y1 <= y0:
        return []
    left, top = shot.camera.place(*room.HATCH[:2], canvas.size)
    right, bottom = shot.camera.place(*room.HATCH[2:], canvas.size)
    y, x = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    inside = torch.stack([x - left, right - x, y - top, bottom - y]).amin(0)
    wall = (0.5 - inside).clamp(0, 1)
    back = shot.scenery.back
    canvas.lay(drawn.box, back.luma[y0:y1, x0:x1], back.chroma[:, y0 // 2 : y1 // 2, x0 // 2 : x1 // 2], wall)
    return [(drawn.box, wall)]


def _hand(actor: Actor, puppet: Puppet, drawn: Drawn, canvas: Canvas, level: float, t: float) -> _Layer:
    """The hand comes up from below the table, rests before the mouth, and sinks again."""
    mesh = drawn.mesh
    unit = float(np.linalg.norm(mesh[LEFT_EYE_OUTER] - mesh[RIGHT_EYE_OUTER]))
    mouth = (mesh[LIP_UPPER, :2] + mesh[LIP_LOWER, :2]) / 2
    low = 1 - level
    at = mouth + unit * np.array([0.36 + 0.3 * low, 0.60 + 3.2 * low], np.float32)
    at += unit * 0.025 * np.array([np.sin(2.1 * t), np.sin(3.3 * t)], np.float32)
    degrees = -42 + 26 * low + 2.5 * np.sin(2.7 * t)
    skin = puppet.skin
    tone = (16 + 1.02 * (skin[0] - 16) * actor.role.light, 128 + 0.9 * (skin[1] - 128), 128 + 0.95 * (skin[2] - 128))
    return draw_hand(canvas, tone, (float(at[0]), float(at[1])), 0.80 * unit, float(degrees))


def _truth(actor: Actor, drawn: Drawn, before: list[_Layer], size: tuple[int, int]) -> FaceTruth | None:
    """What can be seen of a face; None when its mesh lies outside the frame or nothing of it is left."""
    mesh = drawn.mesh
    within = ((mesh[:, :2] >= 0) & (mesh[:, :2] < np.array(size))).all(1)
    clear = np.ones(len(mesh), np.float32)
    for (x0, y0, x1, y1), alpha in before:
        column, row = mesh[:, 0].astype(int) - x0, mesh[:, 1].astype(int) - y0
        hit = within & (column >= 0) & (column < x1 - x0) & (row >= 0) & (row < y1 - y0)
        if hit.any():
            clear[hit] *= 1 - alpha.numpy()[row[hit], column[hit]]
    visible = float((clear * within).mean())
    if visible < 0.02:
        return None
    corner = np.array([*size, *size], np.float32)
    box: Floats = np.concatenate([mesh[:, :2].min(0), mesh[:, :2].max(0)]).clip(0, corner).astype(np.float32)
    yaw = float(pose(torch.from_numpy(mesh)[None]).angles()[0, 0])
    hidden = 1 - float(clear[within].mean())
    return FaceTruth(actor.person, box, mesh, yaw, visible, hidden >= OCCLUDED)


class _Writer:
    """Frames and their sound into one file."""

    def __init__(self, path: Path, size: tuple[int, int], fps: Fraction, threads: int) -> None:
        self._fps, self._frames, self._samples = fps, 0, 0
        self._file: av.container.OutputContainer = av.open(path, "w")
        options = {"crf": "18", "preset": "veryfast", "bf": "2", "g": str(max(1, round(2 * fps)))}
        video = self._file.add_stream("libx264", rate=fps, options=options)
        assert isinstance(video, av.VideoStream)
        self._video = video
        context = video.codec_context
        context.width, context.height, context.pix_fmt, context.thread_count = *size, "yuv420p", threads
        context.time_base = 1 / fps
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 1, 1, 1, 1
        sound = self._file.add_stream("aac", rate=RATE, options={"b": "128k"})
        assert isinstance(sound, av.AudioStream)
        self._sound = sound
        sound.codec_context.layout = "stereo"

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(av.error.FFmpegError):
            self._file.close()

    def write(self, planes: NDArray[np.uint8], people: list[Actor], seed: int) -> None:
        """One frame, and the sound that belongs to it."""
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = self._frames, 1 / self._fps
        frame.colorspace, frame.color_range = 1, 1
        self._frames += 1
        self._file.mux(self._video.encode(frame))
        until = round(self._frames / self._fps * RATE)
        block = _mix(people, self._samples, until - self._samples, seed)
        heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T), format="fltp", layout="stereo")
        heard.sample_rate, heard.pts, heard.time_base = RATE, self._samples, Fraction(1, RATE)
        self._samples = until
        self._file.mux(self._sound.encode(heard))

    def finish(self) -> None:
        """Write what the encoders still hold."""
        self._file.mux(self._video.encode(None))
        self._file.mux(self._sound.encode(None))


def _mix(people: list[Actor], start: int, count: int, seed: int) -> NDArray[np.float32]:
    """(count, 2) the sound of the room and of everyone who speaks."""
    mixed = room_tone(start, count, seed)
    for actor in people:
        if actor.speech is not None:
            side = _PAN.get(actor.role.name, 0.5)
            voice = actor.speech.sound(start, count, RATE, seed)
            mixed += 0.16 * voice[:, None] * np.sqrt(np.array([1 - side, side]))
    return np.tanh(mixed).astype(np.float32)
