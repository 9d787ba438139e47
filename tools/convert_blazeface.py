"""BlazeFace (full range), the leak gate's detector: `pipeline/data/blazeface.npz`.

    pip install tflite && python tools/convert_blazeface.py [--package mediapipe-0.10.21-….whl]

Network: Bazarevsky et al., BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs, 2019; the full-range model
of MediaPipe (Apache-2.0). Its weights are halves, sparse in the file and dense here.
"""

import numpy as np
from packages import Source, arguments, graph_array, members, store
from tflite_graph import Reader

from pipeline.models.graph import to_json

SOURCE = Source("pypi", "mediapipe", "0.10.21", "Apache-2.0")
PATH = "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite"


def main() -> None:
    """Convert and store."""
    (content,) = members(SOURCE, arguments(str(__doc__)).package, [PATH])
    graph = Reader(content).graph()
    arrays = {
        "graph": graph_array(to_json(graph)),
        **{k: v.numpy().astype(np.float16) for k, v in graph.weights.items()},
    }
    store("blazeface", "BlazeFace, full range (Bazarevsky et al. 2019)", SOURCE, PATH, content, arrays)


if __name__ == "__main__":
    main()
