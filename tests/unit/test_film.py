"""The film that the project makes: its truth is true, its faces are found, its sound is there, it can be repeated."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pipeline.errors import OutputError
from pipeline.film import CAST, FilmTruth, make_film
from pipeline.models.centerface import CenterFace
from pipeline.models.facemesh import FaceMesh
from pipeline.picture import Picture, PixelLayout, read_rgb
from pipeline.stage import puppet
from pipeline.stage.acting import raised
from pipeline.stage.puppet import Moves
from pipeline.stage.speech import speak

SMALL = (320, 180)
PAIR = ("talker", "hand")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FilmTruth]:
    """Two seconds of two people at a table, with a hand before a mouth and a cut."""
    path = tmp_path_factory.mktemp("film") / "short.mp4"
    return path, make_film(path, 2, size=SMALL, fps=25, cast=PAIR)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FilmTruth]:
    """Everyone, at few frames per second, so that all that happens is in it."""
    path = tmp_path_factory.mktemp("film") / "crowd.mkv"
    return path, make_film(path, 4, size=(640, 360), fps=5, cuts=False)


def pictures(path: Path) -> list[Picture]:
    result: list[Picture] = []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            width, height = frame.width, frame.height
            flat = torch.from_numpy(frame.to_ndarray(format="yuv420p").reshape(-1).copy())
            luma, chroma = width * height, width * height // 4
            y, u, v = flat[:luma], flat[luma : luma + chroma], flat[luma + chroma :]
            planes = y.reshape(height, width), u.reshape(height // 2, -1), v.reshape(height // 2, -1)
            layout = PixelLayout(width, height, 8, 1, 1, "bt709", False)
            result.append(Picture(len(result), frame.pts or 0, planes, layout))
    return result


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = float(np.prod((high - low).clip(0)))
    return common / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - common)


def test_the_truth_has_every_frame_and_its_boxes_lie_inside(short: tuple[Path, FilmTruth]) -> None:
    path, truth = short
    assert len(pictures(path)) == len(truth.frames) == 50
    assert truth.fps == 25
    assert truth.people == CAST
    for face in (face for frame in truth.frames for face in frame):
        assert (face.box[:2] >= 0).all()
        assert (face.box[2:] <= np.array(SMALL)).all()
        assert (face.box[2:] > face.box[:2]).all()
        assert face.mesh.shape == (468, 3)
        assert 0 < face.visible <= 1


def test_the_cut_shows_a_person_seen_before_larger(short: tuple[Path, FilmTruth]) -> None:
    path, truth = short
    (cut,) = truth.cuts
    (close,) = truth.frames[cut]
    (before,) = (face for face in truth.frames[cut - 1] if face.person == close.person)
    assert np.ptp(close.box[1::2]) > 1.5 * np.ptp(before.box[1::2])
    shown = [p.planes[0].float() for p in pictures(path)]
    changes = [float((a - b).abs().mean()) for a, b in pairwise(shown)]
    assert int(np.argmax(changes)) == cut - 1


def test_nobody_jumps(short: tuple[Path, FilmTruth]) -> None:
    _, truth = short
    for number, (a, b) in enumerate(pairwise(truth.frames)):
        if number + 1 in truth.cuts:
            continue
        meshes = {face.person: face.mesh for face in a}
        for face in b:
            assert np.abs(face.mesh - meshes[face.person]).max() < 6


def test_the_hand_hides_a_face_for_a_while(short: tuple[Path, FilmTruth]) -> None:
    _, truth = short
    person, cut = CAST.index("hand"), truth.cuts[0]
    hidden = [f.occluded for frame in truth.frames[:cut] for f in frame if f.person == person]
    assert any(hidden)
    assert not hidden[0]
    assert not hidden[-1]
    assert raised(0.5, 1.0) == 1
    assert raised(0.1, 1.0) == raised(0.9, 1.0) == 0


def test_detector_and_mesh_find_the_faces_where_the_truth_says(short: tuple[Path, FilmTruth]) -> None:
    path, truth = short
    finder, locator = CenterFace(torch.device("cpu")), FaceMesh(torch.device("cpu"))
    shown = pictures(path)
    for number in (0, 12, 20, 40):
        picture = shown[number]
        found = finder.detect(read_rgb(picture, (0, 0, *SMALL)).clamp(0, 1))
        for face in truth.frames[number]:
            if face.occluded:
                continue
            assert max(overlap(face.box, box) for box in found.boxes) > 0.6
            mesh, presence = locator.locate([picture], np.zeros(1, np.int64), face.box[None])
            eyes = float(np.linalg.norm(face.mesh[263] - face.mesh[33]))
            assert presence[0] > 0.5
            assert np.linalg.norm((mesh[0] - face.mesh)[:, :2], axis=1).mean() < 0.08 * eyes


def test_everyone_has_a_part(crowd: tuple[Path, FilmTruth]) -> None:
    _, truth = crowd
    seen = [{face.person: face for face in frame} for frame in truth.frames]
    far, passer, walker, profile = (CAST.index(n) for n in ("far", "passer", "walker", "profile"))
    assert all(abs(f[profile].yaw) > 45 for f in seen)
    assert all(np.ptp(f[far].box[1::2]) < 16 for f in seen if far in f)
    for person in (passer, walker):
        assert not all(person in f for f in seen)  # comes and goes
    middles = [(f[walker].box[0] - f[passer].box[0]) for f in seen if walker in f and passer in f]
    assert min(middles) < 0 < max(middles)  # they cross
    hidden = [f[passer].visible for f in seen if passer in f]
    assert min(hidden) < 0.6


def test_the_same_seed_makes_the_same_film_and_another_one_another(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        truth = make_film(tmp_path / f"{name}.mp4", 0.4, seed, size=SMALL, fps=25, cast=("talker",))
        made.append((truth.frames[5][0].mesh, pictures(tmp_path / f"{name}.mp4")[5].planes[0]))
    assert np.array_equal(made[0][0], made[1][0])
    assert torch.equal(made[0][1], made[1][1])
    assert not np.array_equal(made[0][0], made[2][0])


def test_there_is_sound_in_stereo_as_long_as_the_pictures(short: tuple[Path, FilmTruth]) -> None:
    path, _ = short
    with av.open(path) as container:
        (stream,) = container.streams.audio
        sound = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], 1)
    assert stream.rate == 48_000
    assert sound.shape[0] == 2
    assert abs(sound.shape[1] / 48_000 - 2) < 0.1
    assert 0.005 < np.sqrt((sound**2).mean()) < 0.2


def test_the_mouth_opens_with_the_voice() -> None:
    speech = speak([(0.5, 4.0)], 5, 120, 1, 3)
    blocks = [
        (t, float(np.abs(speech.sound(int(t * 48_000), 1600, 48_000, 1)).mean())) for t in np.arange(0, 5, 1 / 30)
    ]
    loud = [level for _, level in blocks]
    opened = [speech.mouth(t - 0.015)[0] for t, _ in blocks]
    assert np.corrcoef(loud, opened)[0, 1] > 0.5
    assert max(loud[:14]) == 0
    assert all(speech.mouth(t)[0] == 0 for t in (0.0, 0.3, 4.6))


def test_lids_close_and_eyeballs_stay() -> None:
    person = puppet.load("talker")
    calm, shut = (person.move(person.mesh, Moves(blink=b)) for b in (0.0, 1.0))
    for upper, lower in ((159, 145), (386, 374)):
        assert np.linalg.norm((shut[upper] - shut[lower])[:2]) < 0.15 * np.linalg.norm(calm[upper] - calm[lower])
    assert np.array_equal(person.move(person.grid, Moves(blink=1.0)), person.move(person.grid, Moves()))


def test_shoulders_stay_where_they_are_when_the_head_turns() -> None:
    person = puppet.load("talker")
    calm, turned = (person.move(person.grid, Moves(yaw=a, roll=a)) for a in (0.0, 15.0))
    moved = np.abs(turned - calm).max(1)
    assert moved[person.grid.head == 0].max() < 1e-3
    assert moved[person.grid.head == 1].max() > 10


def test_truth_is_saved_and_loaded(short: tuple[Path, FilmTruth], tmp_path: Path) -> None:
    _, truth = short
    truth.save(tmp_path / "truth.npz")
    again = FilmTruth.load(tmp_path / "truth.npz")
    assert (again.fps, again.size, again.cuts, again.people) == (truth.fps, truth.size, truth.cuts, truth.people)
    assert len(again.frames) == len(truth.frames)
    for a, b in zip((f for fs in truth.frames for f in fs), (f for fs in again.frames for f in fs), strict=True):
        assert a.person == b.person
        assert a.occluded == b.occluded
        assert np.array_equal(a.mesh, b.mesh)
        assert np.array_equal(a.box, b.box)


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even"):
        make_film(tmp_path / "a.mp4", 1, size=(321, 180))
    with pytest.raises(ValueError, match="king"):
        make_film(tmp_path / "a.mp4", 1, cast=("king",))
    with pytest.raises(OutputError):
        make_film(tmp_path / "missing" / "a.mp4", Fraction(1, 5), size=SMALL, cast=("talker",))
    assert not list(tmp_path.iterdir())
