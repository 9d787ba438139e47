"""MediaPipe's 468-point face mesh, its triangles and its named lines: `pipeline/data/facemesh.npz`, `topology.npz`.

    pip install tflite && python tools/convert_facemesh.py [--package mediapipe-0.10.21-….whl]

Network: Kartynnik et al., Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs, 2019.
"""

import ast

import numpy as np
from packages import Source, arguments, graph_array, members, store
from tflite_graph import Reader

from pipeline.models.graph import to_json

SOURCE = Source("pypi", "mediapipe", "0.10.21", "Apache-2.0")
NETWORK = "mediapipe/modules/face_landmark/face_landmark.tflite"
LINES = "mediapipe/python/solutions/face_mesh_connections.py"
RINGS = {"oval": "FACE_OVAL", "left_eye": "LEFT_EYE", "right_eye": "RIGHT_EYE"}


def literals(code: str) -> dict[str, list[tuple[int, int]]]:
    """The module's edge lists in the order in which they are written (a frozenset would lose it)."""
    found = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and node.value.args:
            name, value = node.targets[0], node.value.args[0]
            if isinstance(name, ast.Name) and isinstance(value, ast.List):
                found[name.id.removeprefix("FACEMESH_")] = [tuple(edge) for edge in ast.literal_eval(value)]
    return found


def rings(edges: list[tuple[int, int]]) -> list[list[int]]:
    """The closed lines that the edges form, each as its points in order."""
    around: dict[int, list[int]] = {}
    for a, b in edges:
        around.setdefault(a, []).append(b)
        around.setdefault(b, []).append(a)
    found = []
    while around:
        at = min(around)
        ring = []
        while at is not None:
            ring.append(at)
            at = next((n for n in around.pop(at) if n in around), None)
        found.append(ring)
    return found


def topology(lines: dict[str, list[tuple[int, int]]]) -> dict[str, np.ndarray]:
    """Triangles (852, 3) and the rings. The tessellation lists each triangle as its three edges in a row."""
    edges = lines["TESSELATION"]
    triples = [edges[i : i + 3] for i in range(0, len(edges), 3)]
    assert all(a[1] == b[0] and b[1] == c[0] and c[1] == a[0] for a, b, c in triples)
    result = {"triangles": np.array([[a[0], b[0], c[0]] for a, b, c in triples], np.int16)}
    for name, source in RINGS.items():
        (ring,) = rings(lines[source])
        result[name] = np.array(ring, np.int16)
    for name, source in (("left_brow", "LEFT_EYEBROW"), ("right_brow", "RIGHT_EYEBROW")):
        result[name] = np.array(sorted({n for edge in lines[source] for n in edge}), np.int16)
    for name, start in (("lips_outer", 61), ("lips_inner", 78)):
        result[name] = np.array(next(r for r in rings(lines["LIPS"]) if start in r), np.int16)
    return result


def main() -> None:
    """Convert and store."""
    package = arguments(str(__doc__)).package
    network, code = members(SOURCE, package, [NETWORK, LINES])
    graph = Reader(network).graph()
    arrays = {"graph": graph_array(to_json(graph)), **{k: v.numpy() for k, v in graph.weights.items()}}
    store("facemesh", "MediaPipe face mesh, 468 points (Kartynnik et al. 2019)", SOURCE, NETWORK, network, arrays)
    store(
        "topology", "Triangles and lines of the 468-point mesh", SOURCE, LINES, code, topology(literals(code.decode()))
    )


if __name__ == "__main__":
    main()
