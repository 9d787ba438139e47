"""The networks: pinned files, one result from every runtime, geometry."""

import dataclasses
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from portrait import as_picture, portrait, scene

from pipeline.errors import DeviceError, ModelError
from pipeline.look import warped
from pipeline.models import graph, topology, weights
from pipeline.models.blazeface import BlazeFace
from pipeline.models.centerface import CenterFace
from pipeline.models.facemesh import FaceMesh
from pipeline.models.insightface import InsightFaceDetector
from pipeline.models.recogniser import SIZE, THRESHOLD, Recogniser

CPU = torch.device("cpu")
SCRFD = Path(os.environ.get("VEILFARM_SCRFD", "../shared/models/scrfd_500m_bnkps.onnx"))
INPUTS = {
    "centerface": ((1, 3, 96, 128), 255.0),
    "facemesh": ((1, 3, 192, 192), 1.0),
    "recogniser": ((1, 3, 150, 150), 1.0),
    "blazeface": ((1, 3, 192, 192), 1.0),
}


@pytest.fixture(scope="module")
def face():
    """Box, points and mesh of the portrait."""
    found = CenterFace(CPU).detect(portrait())
    meshes, presence = FaceMesh(CPU).locate([as_picture(portrait())], np.zeros(1, np.int64), found.boxes, found.points)
    return found, meshes, presence


def test_a_file_with_another_hash_is_refused(tmp_path):
    file = tmp_path / "x.npz"
    file.write_bytes(b"not it")
    with pytest.raises(ModelError, match="isn't the pinned one"):
        weights.read_pinned(file, "0" * 64)
    with pytest.raises(ModelError, match="can't be read"):
        weights.read_pinned(tmp_path / "none.npz", "0" * 64)


def test_an_unknown_name_is_refused():
    with pytest.raises(ModelError, match="no model is called"):
        weights.arrays("somebody")


def test_every_pinned_file_is_the_pinned_one_and_says_where_it_is_from():
    for facts in weights.catalogue().values():
        weights.read_pinned(weights.FOLDER / facts.file, facts.sha256)
        assert all(dataclasses.astuple(facts))


@pytest.mark.parametrize("name", INPUTS)
def test_torch_and_onnxruntime_agree(name):
    shape, top = INPUTS[name]
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * top
    pairs = zip(graph.runtime(name, CPU)(images), graph.runtime(name, CPU, "torch")(images), strict=True)
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", INPUTS)
def test_a_batch_gives_what_single_pictures_give(name):
    shape, top = INPUTS[name]
    images = torch.rand((3, *shape[1:]), generator=torch.Generator().manual_seed(2)) * top
    run = graph.runtime(name, CPU, "torch")
    for k, part in enumerate(run(images)):
        alone = torch.cat([run(images[i : i + 1])[k] for i in range(3)])
        torch.testing.assert_close(part, alone, rtol=1e-3, atol=1e-3)


def test_a_runtime_that_was_not_asked_for_is_never_used():
    with pytest.raises(DeviceError):
        graph.runtime("facemesh", torch.device("cuda"), "onnxruntime")
    with pytest.raises(DeviceError):
        graph.runtime("facemesh", CPU, "tensorrt")


def test_eight_bits_find_what_floats_find():
    image = scene(320, 256, (10, 10, 96), (150, 30, 160))
    engines = ("onnxruntime-int8", "onnxruntime")
    small, exact = (CenterFace(CPU, engine, threshold=0.5).detect(image) for engine in engines)
    assert len(small) == len(exact) == 2
    np.testing.assert_allclose(np.sort(small.boxes, 0), np.sort(exact.boxes, 0), atol=4)
    np.testing.assert_allclose(np.sort(small.scores), np.sort(exact.scores), atol=0.1)


def test_centerface_finds_the_face_and_its_points(face):
    found, _, _ = face
    assert len(found) == 1
    assert found.scores[0] > 0.7
    left, right, nose, mouth_left, mouth_right = found.points[0]
    assert left[0] < nose[0] < right[0]
    assert left[1] < nose[1] < mouth_left[1]
    assert mouth_left[0] < mouth_right[0]


def test_centerface_finds_the_same_in_a_larger_picture() -> None:
    image = scene(250, 190, (16, 8, 170))
    detector = CenterFace(CPU, "torch", threshold=0.5)
    padded = torch.nn.functional.pad(image, (0, 6, 0, 2))
    one, other = detector.detect(image), detector.detect(padded)
    assert len(one) == 1
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)


def test_a_part_of_a_network_gives_what_the_whole_one_gives() -> None:
    whole = graph.load("centerface")
    inner = whole.ops[20].output
    images = torch.rand(1, 3, 64, 96)
    heat, features = graph.TorchRuntime(whole.scaled(255).cut((whole.outputs[0], inner)), CPU)(images)
    every = graph.TorchRuntime(dataclasses.replace(whole, outputs=(*whole.outputs, inner)), CPU)(images * 255)
    torch.testing.assert_close(heat, every[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features, every[-1], rtol=1e-3, atol=1e-3)
    assert len(whole.cut((inner,)).ops) < len(whole.ops)
    with pytest.raises(ModelError, match="can't be scaled"):
        dataclasses.replace(whole, ranges={"input": (0, 255)}).scaled(255)


def test_centerface_finds_nothing_in_an_empty_room():
    assert len(CenterFace(CPU).detect(scene(256, 192))) == 0


def test_the_mesh_lies_on_the_points_of_the_detector(face):
    found, meshes, presence = face
    assert presence[0] > 0.9
    eyes = [meshes[0, list(topology.ring(name)), :2].mean(0) for name in ("right_eye", "left_eye")]
    width = found.boxes[0, 2] - found.boxes[0, 0]
    assert np.linalg.norm(eyes - found.points[0, :2], axis=1).max() < 0.08 * width


def test_the_mesh_follows_a_turned_and_smaller_face(face):
    _, meshes, _ = face
    image = portrait()
    turned = torch.rot90(image, -1, (1, 2))  # clockwise: (x, y) goes to (384 - y, x)
    expected = np.stack([384 - meshes[0, :, 1], meshes[0, :, 0]], 1)
    box = np.concatenate([expected.min(0), expected.max(0)])[None].astype(np.float32)
    points = np.stack([expected[[33, 263, 1, 61, 291]]]).astype(np.float32)
    found, presence = FaceMesh(CPU).locate([as_picture(turned)], np.zeros(1, np.int64), box, points)
    assert presence[0] > 0.9
    assert np.linalg.norm(found[0, :, :2] - expected, axis=1).mean() < 2


def test_faces_of_several_pictures_go_through_in_one_batch(face):
    found, meshes, _ = face
    pictures = [as_picture(portrait()), as_picture(portrait().flip(2))]
    boxes = np.concatenate([found.boxes, found.boxes])
    boxes[1, [0, 2]] = 384 - found.boxes[0, [2, 0]]
    both, _ = FaceMesh(CPU).locate(pictures, np.array([0, 1]), boxes)
    alone, _ = FaceMesh(CPU).locate(pictures[1:], np.array([0]), boxes[1:])
    np.testing.assert_allclose(both[1], alone[0], atol=0.01)
    assert np.linalg.norm(both[0, :, :2] - meshes[0, :, :2], axis=1).mean() < 2
    empty, flags = FaceMesh(CPU).locate(pictures, np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    assert empty.shape == (0, 468, 3)
    assert flags.shape == (0,)


def test_no_face_means_no_presence():
    box = np.array([[60, 60, 200, 200]], np.float32)
    _, presence = FaceMesh(CPU).locate([as_picture(scene(256, 256))], np.zeros(1, np.int64), box)
    assert presence[0] < 0.5


def test_the_recogniser_knows_a_face_again(face):
    _, meshes, _ = face
    recogniser = Recogniser(CPU)
    crop = warped(as_picture(portrait()), recogniser.align(meshes)[0], SIZE)[None]
    darker = recogniser.embed(
        torch.cat([crop, crop * 0.7, crop.flip(3), crop.mean((2, 3), keepdim=True).expand_as(crop)])
    )
    distance = (darker - darker[0]).norm(dim=1)
    assert distance[1] < 0.3
    assert distance[2] < THRESHOLD
    assert distance[3] > THRESHOLD
    assert recogniser.embed(crop[:0]).shape == (0, 128)


def test_the_chip_has_eyes_and_mouth_where_dlib_has_them(face):
    _, meshes, _ = face
    matrix = Recogniser.align(meshes)[0].double().numpy()
    there = np.linalg.solve(matrix[:, :2], (meshes[0, [33, 263], :2] - matrix[:, 2]).T).T
    np.testing.assert_allclose(there, [[37, 47], [111, 47]], atol=8)


def test_the_gate_finds_large_and_small_faces():
    found = BlazeFace(CPU).detect(scene(448, 384, (0, 0, 384), (390, 200, 56)))
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    for x, y, side in ((0, 0, 384), (390, 200, 56)):
        assert ((centres > [x, y]) & (centres < [x + side, y + side])).all(1).any()


def test_triangles_cover_the_face_once_with_three_holes():
    def borders(triangles):
        edges = Counter(tuple(sorted((int(t[i]), int(t[(i + 1) % 3])))) for t in triangles for i in range(3))
        assert max(edges.values()) == 2
        return {point for edge, uses in edges.items() if uses == 1 for point in edge}

    rings = [set(topology.ring(n).tolist()) for n in ("oval", "left_eye", "right_eye", "lips_inner")]
    assert topology.triangles().shape == (852, 3)
    assert borders(topology.triangles()) == set.union(*rings)
    assert borders(topology.filled()) == rings[0]
    directed = Counter((int(t[i]), int(t[(i + 1) % 3])) for t in topology.filled() for i in range(3))
    assert max(directed.values()) == 1  # all wound the same way


def test_insightface_never_downloads():
    with pytest.raises(ModelError, match="isn't there"):
        InsightFaceDetector(Path("buffalo_l"))


def test_insightface_refuses_what_is_no_model(tmp_path):
    pytest.importorskip("insightface")
    file = tmp_path / "x.onnx"
    file.write_bytes(b"no model")
    with pytest.raises(ModelError):
        InsightFaceDetector(file)


@pytest.mark.skipif(not SCRFD.is_file(), reason="no SCRFD file here (VEILFARM_SCRFD)")
def test_insightface_finds_what_centerface_finds(face):
    pytest.importorskip("insightface")
    found, _, _ = face
    other = InsightFaceDetector(SCRFD).detect(portrait())
    assert len(other) == 1
    np.testing.assert_allclose(other.points[0], found.points[0], atol=20)
