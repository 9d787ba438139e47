"""How well the recogniser tells people apart: pairs NNN_neutral.jpg and NNN_smiling.jpg of a folder.

python bench/recogniser.py FOLDER
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.look import warped
from pipeline.models.centerface import CenterFace
from pipeline.models.facemesh import FaceMesh
from pipeline.models.recogniser import SIZE, THRESHOLD, Recogniser
from pipeline.picture import Picture, PixelLayout, write_rgb

CPU = torch.device("cpu")


def picture(path: Path) -> tuple[Picture, torch.Tensor]:
    """The photo as a 4:4:4 picture and as RGB (3, H, W) 0..1."""
    image = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1).float() / 255
    height, width = image.shape[1:]
    planes = [torch.zeros(height, width, dtype=torch.uint8) for _ in range(3)]
    made = Picture(0, 0, (planes[0], planes[1], planes[2]), PixelLayout(width, height, 8, 0, 0, "bt709", True))
    write_rgb(made, (0, 0, width, height), image, torch.ones(height, width))
    return made, image


def equal_error(genuine: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Equal error rate and the distance at which it is reached."""
    edges = np.linspace(0.2, 1.2, 1001)
    missed = np.array([(genuine >= e).mean() for e in edges])
    wrong = np.array([(others < e).mean() for e in edges])
    best = np.flatnonzero(np.abs(missed - wrong) == np.abs(missed - wrong).min())
    middle = int(best[len(best) // 2])
    return float((missed[middle] + wrong[middle]) / 2), float(edges[middle])


def main() -> None:
    """Print distances and error rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    detector, mesher, recogniser = CenterFace(CPU), FaceMesh(CPU), Recogniser(CPU)
    people = sorted({path.name[:3] for path in folder.glob("*_neutral.jpg")})
    looks: dict[str, list[torch.Tensor]] = {"neutral": [], "smiling": []}
    begin = time.process_time()
    for mood, vectors in looks.items():
        for person in people:
            shown, image = picture(folder / f"{person}_{mood}.jpg")
            found = detector.detect(image)
            meshes, _ = mesher.locate([shown], np.zeros(1, np.int64), found.boxes[:1], found.points[:1])
            vectors.append(recogniser.embed(warped(shown, recogniser.align(meshes)[0], SIZE)[None])[0])
    each = (time.process_time() - begin) / (2 * len(people)) * 1e3
    distances = torch.cdist(torch.stack(looks["neutral"]), torch.stack(looks["smiling"])).numpy()
    same = np.eye(len(people), dtype=bool)
    genuine, others = distances[same], distances[~same]
    error, edge = equal_error(genuine, others)
    print(
        f"{len(people)} people, {len(genuine)} pairs of one person, {len(others)} of two; {each:.0f} CPU ms per photo"
    )
    print(f"one person:  mean {genuine.mean():.3f}  largest {genuine.max():.3f}")
    print(f"two people:  mean {others.mean():.3f}  smallest {others.min():.3f}")
    print(f"at {THRESHOLD}: missed {(genuine >= THRESHOLD).mean():.2%}  wrong {(others < THRESHOLD).mean():.2%}")
    print(f"equal error rate {error:.2%} at {edge:.3f}")


if __name__ == "__main__":
    main()
