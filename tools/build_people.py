"""The people of the films that the project makes itself: `pipeline/data/people.npz`, from portraits of people who do
not exist.

    python tools/build_people.py PORTRAITS [--matte-python PYTHON]

Portraits: faker-js/assets-person-portrait (CC0 1.0), made by a text-to-image model. Each is cut out from its
background: MediaPipe's selfie segmentation (Apache-2.0) says where the person is for sure; closed-form matting (Levin,
Lischinski and Weiss, PAMI 30(2), 2008) and multi-level foreground estimation (Germer et al. 2020), both from PyMatting
(MIT), find hair and edges. Those two packages want another numpy than ours, so they run in an environment of their own,
made for the run.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np
import torch
from build_nobody import SOURCE, meshes_of
from packages import store
from PIL import Image

# Role in the film, portrait. Chosen by eye: different ages, sexes and skins, mouths closed, nothing cut off.
PEOPLE = {
    "talker": "female_053",
    "hand": "male_021",
    "walker": "male_046",
    "passer": "female_090",
    "far": "female_093",
    "profile": "female_066",  # looks over her shoulder
}
BANDS = {"male_046": 5}  # pixels outside a person in which hair is looked for; short hair, and much behind it
BAND = 16
QUALITY = 86  # of the WebP
MARGIN = 6  # pixels around the cut-out

MATTE = """
import sys
from pathlib import Path
import mediapipe, numpy as np, pymatting
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, label

source, target, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
network = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
for name, band in (entry.split(":") for entry in names):
    rgb = np.asarray(Image.open(source / f"{name}.webp").convert("RGB"))
    person = network.process(rgb).segmentation_mask
    parts, _ = label(person > 0.5)
    main = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    sure = binary_erosion(main & (person > 0.9), iterations=min(9, int(band)), border_value=1)
    near = binary_dilation(main, iterations=20)
    known = np.full(person.shape, 0.5)
    known[sure] = 1
    known[~binary_dilation(main | (person > 0.3) & near, iterations=int(band))] = 0
    alpha = pymatting.estimate_alpha_cf(rgb / 255, known)
    parts, _ = label(alpha > 0.6)
    solid = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    alpha = (alpha * binary_dilation(solid, iterations=7) - 0.07).clip(0) / 0.93  # crumbs of the background
    front = pymatting.estimate_foreground_ml(rgb / 255, alpha)
    whole = (np.dstack([front, alpha]).clip(0, 1) * 255).round().astype(np.uint8)
    Image.fromarray(whole).save(target / f"{name}.png")
"""


def cut_out(portraits: Path, names: list[str], python: Path | None, folder: Path) -> dict[str, Image.Image]:
    """The portraits as RGBA, colours of the person continued under the edge."""
    if python is None:
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", "mediapipe==0.10.21", "pymatting==1.1.16"], check=True)
    entries = [f"{name}:{BANDS.get(name, BAND)}" for name in names]
    subprocess.run([python, "-c", MATTE, str(portraits), str(folder), *entries], check=True)
    return {name: Image.open(folder / f"{name}.png").convert("RGBA") for name in names}


def main() -> None:
    """Build and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--matte-python", type=Path, help="a Python that has mediapipe and pymatting already")
    options = parser.parse_args()
    names = list(PEOPLE.values())
    files = [options.portraits / f"{name}.webp" for name in names]
    images = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    meshes = meshes_of([torch.from_numpy(i.copy()).permute(2, 0, 1).float() / 255 for i in images]).numpy()
    with tempfile.TemporaryDirectory() as folder:
        cut = cut_out(options.portraits, names, options.matte_python, Path(folder))
    pictures = []
    for i, name in enumerate(names):
        rows, columns = np.nonzero(np.asarray(cut[name])[..., 3] > 8)
        x0, y0 = max(0, int(columns.min()) - MARGIN), max(0, int(rows.min()) - MARGIN)
        x1, y1 = min(cut[name].width, int(columns.max()) + 1 + MARGIN), int(rows.max()) + 1
        kept = io.BytesIO()
        cut[name].crop((x0, y0, x1, y1)).save(kept, "WEBP", quality=QUALITY, alpha_quality=95, method=6)
        pictures.append(np.frombuffer(kept.getvalue(), np.uint8))
        meshes[i, :, :2] -= (x0, y0)
        print(f"{name}: {x1 - x0}x{y1 - y0}, {len(pictures[-1])} bytes")
    arrays = {
        "names": np.array(list(PEOPLE)),
        "pictures": np.concatenate(pictures),
        "lengths": np.array([len(p) for p in pictures], np.int64),
        "meshes": meshes.astype(np.float32),
    }
    content = b"".join(f.read_bytes() for f in files)
    store("people", "Cut-outs of people who do not exist, with their meshes", SOURCE, "portraits", content, arrays)


if __name__ == "__main__":
    sys.exit(main())
