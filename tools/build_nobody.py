"""The model of nobody: `pipeline/data/mean_shape.npz` and `pipeline/data/nobody.npz`, from portraits of
people who do not exist.

    python tools/build_nobody.py PORTRAITS   # a folder of pictures, one face in each

Portraits: faker-js/assets-person-portrait (CC0 1.0), made by a text-to-image model, named female_… and male_….
Method: an active appearance model (Cootes, Edwards and Taylor, ECCV 1998) on logarithms of colour from which the light
of each portrait was taken away. Hair and things before a face are filled from the other portraits (iterated principal
components with weights; De la Torre and Black, "Robust principal component analysis for computer vision", ICCV 2001).
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from packages import Source, store
from PIL import Image
from torch import Tensor

from pipeline import appearance, shape, uv
from pipeline.filters import blur
from pipeline.models import weights
from pipeline.models.centerface import CenterFace
from pipeline.models.facemesh import FaceMesh
from pipeline.models.recogniser import Recogniser
from pipeline.picture import Picture, PixelLayout

SOURCE = Source("github", "faker-js/assets-person-portrait", "1", "CC0-1.0")
COMPONENTS, SHAPE_COMPONENTS = 80, 30
SMALL = 128  # pixels of the pictures on which hair is told from skin
MOST_TURNED = 15.0  # degrees; a portrait that looks aside gives no shape and no texture
PATIENCE = 0.16  # residual in logarithms at which a pixel counts half


def read(folder: Path) -> tuple[list[str], list[Tensor]]:
    """Names, and pictures (3, H, W) in 0..1."""
    files = sorted(f for f in folder.iterdir() if f.suffix in (".webp", ".png", ".jpg"))
    opened = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    return [f.name for f in files], [torch.from_numpy(p.copy()).permute(2, 0, 1).float() / 255 for p in opened]


def as_picture(image: Tensor) -> Picture:
    """A still as the pipeline's picture: 4:4:4, full range, so that nothing is lost that matters here."""
    kr, kg, kb = 0.2126, 0.7152, 0.0722
    y = kr * image[0] + kg * image[1] + kb * image[2]
    planes = (y, (image[2] - y) / (2 * (1 - kb)) + 128 / 255, (image[0] - y) / (2 * (1 - kr)) + 128 / 255)
    samples = tuple((p * 255).round().clamp(0, 255).byte() for p in planes)
    layout = PixelLayout(image.shape[2], image.shape[1], 8, 0, 0, "bt709", True)
    return Picture(0, 0, (samples[0], samples[1], samples[2]), layout)


def meshes_of(images: list[Tensor]) -> Tensor:
    """(N, 468, 3) the mesh of the strongest face of each picture; NaN where there is none."""
    cpu = torch.device("cpu")
    finder, mesh = CenterFace(cpu), FaceMesh(cpu)
    result = torch.full((len(images), 468, 3), float("nan"))
    for i, image in enumerate(images):
        (found,) = finder.detect_batch(F.interpolate(image[None], size=(384, 384), mode="area"))
        if len(found.scores) == 0:
            continue
        best = int(found.scores.argmax())
        ratio = image.shape[2] / 384
        box, points = found.boxes[best : best + 1] * ratio, found.points[best : best + 1] * ratio
        located, presence = mesh.locate([as_picture(image)], np.zeros(1, np.int64), box, points)
        if presence[0] > 0.5:
            result[i] = torch.from_numpy(located[0])
    return result


def store_mean_shape(meshes: Tensor) -> None:
    """Generalised Procrustes (Gower 1975) over heads that look ahead; symmetric, one unit between the eyes' corners."""
    mean = meshes[0] - meshes[0].mean(0)
    mean = mean / (mean[263] - mean[33]).norm()
    for _ in range(10):
        placed = shape.align(meshes, mean[None])
        mean = placed.undo(meshes)[placed.rotation[:, 2, 2] > 0.94].mean(0)
        x = mean[263] - mean[33]
        x = x / x.norm()
        down = mean[152] - mean[10]
        y = down - (down @ x) * x
        y = y / y.norm()
        mean = (mean - mean.mean(0)) @ torch.stack([x, y, torch.linalg.cross(x, y)]).T
        mean = mean / (mean[263] - mean[33]).norm()
    arrays = {"shape": mean.numpy().astype(np.float32)}
    store("mean_shape", "Mean face shape of the model of nobody", SOURCE, "portraits", mean.numpy().tobytes(), arrays)
    weights.catalogue.cache_clear()
    shape.mean_shape.cache_clear()


def feature_mask(size: int) -> Tensor:
    """(1, 1, size, size) brows, eyes, nostrils and lips: darker than skin, and still face."""
    spots = {70: 5, 63: 6, 105: 6, 66: 6, 107: 5, 336: 5, 296: 6, 334: 6, 293: 6, 300: 5, 33: 5, 133: 6, 159: 6, 145: 6}
    spots |= {263: 5, 362: 6, 386: 6, 374: 6, 61: 5, 291: 5, 13: 7, 14: 7, 0: 6, 17: 7, 1: 6, 2: 6, 98: 5, 327: 5}
    axis = torch.arange(size) + 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    where = uv.coordinates(torch.device("cpu")) * size / uv.SIZE
    mask = torch.zeros(size, size)
    for vertex, radius in spots.items():
        px, py = where[vertex].tolist()
        mask = torch.maximum(mask, (torch.hypot(x - px, y - py) < radius * size / 128).float())
    return mask[None, None]


def skin_weights(logs: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
    """How far each pixel is face and not hair, hand or background, (N, 1, s, s), and what should be there (N, 3, s, s).
    `logs` (N, 3, s, s), `face` (1, 1, s, s)."""
    n, size = len(logs), logs.shape[-1]
    feature, sigma = feature_mask(size) * face, appearance.LIGHT * uv.PIXELS_PER_UNIT * size / uv.SIZE
    alive = appearance.alive_mask(size, torch.device("cpu"))
    light = logs.mean(1, keepdim=True)
    plain = (face[0, 0] > 0.9) & (feature[0, 0] < 0.5)
    cheek = torch.stack([x[0][plain].median() for x in light])[:, None, None, None]
    weight = torch.maximum(face * (light - cheek > -0.55), feature).float()
    expected = torch.zeros_like(logs)
    for turn in range(8):
        texture = appearance.flatten(logs, weight * face * (1 - alive), sigma) * face
        if turn == 0:
            expected = ((texture * weight).sum(0) / weight.sum(0).clamp_min(1)).expand_as(texture)
        for _ in range(3):
            flat = (texture * weight + expected * (1 - weight)).reshape(n, -1)
            mean = flat.mean(0)
            _, vectors = torch.linalg.eigh((flat - mean) @ (flat - mean).T)
            basis = vectors[:, -15:]
            expected = (basis @ (basis.T @ (flat - mean)) + mean).reshape(texture.shape) * face
        residual = (texture - expected).abs().mean(1, keepdim=True)
        weight = torch.maximum(face / (1 + (blur(residual, 1.2 * size / 128) / PATIENCE) ** 4), feature * 0.85)
    return weight, expected


def textures_of(images: list[Tensor], meshes: Tensor) -> Tensor:
    """(N, 3, 512, 512) logarithms of colour against the portrait's own light; 0 outside the face."""
    logs = torch.stack([appearance.unwrap(i, m, uv.SIZE) for i, m in zip(images, meshes, strict=True)])
    logs = torch.log(logs + appearance.EPS)
    face = appearance.face_mask(uv.SIZE, torch.device("cpu"))
    small_face = (F.interpolate(face, size=SMALL, mode="area") > 0.5).float()
    weight, expected = skin_weights(F.interpolate(logs, size=SMALL, mode="area"), small_face)
    alive = appearance.alive_mask(uv.SIZE, torch.device("cpu"))
    seen = F.interpolate(blur(weight, 1.0), size=uv.SIZE, mode="bilinear", align_corners=False).clamp(0, 1)
    texture = appearance.flatten(logs, seen * face * (1 - alive), appearance.LIGHT * uv.PIXELS_PER_UNIT)
    texture = seen * texture + (1 - seen) * F.interpolate(expected, size=uv.SIZE, mode="bilinear", align_corners=False)
    return tidy(texture * face, face)


def tidy(texture: Tensor, face: Tensor) -> Tensor:
    """Take out what belongs to the portrait's light and not to the face, and bring contrasts near to one another."""
    small = F.interpolate(texture, size=SMALL, mode="area")
    wide = blur(small, 0.07 * uv.PIXELS_PER_UNIT * SMALL / uv.SIZE)
    wide = F.interpolate(wide, size=uv.SIZE, mode="bilinear", align_corners=False)
    texture = texture + (0.5 * (wide.flip(3) + wide) - wide) * face  # one-sided light
    texture = torch.where(texture > 0, 0.35 * torch.tanh(texture / 0.35), texture)  # shine
    grey = texture.mean(1, keepdim=True)
    usual = (texture - grey).mean(0, keepdim=True)
    texture = grey + usual + 0.6 * (texture - grey - usual)  # coloured light
    contrast = ((texture.square().mean(1, keepdim=True) * face).sum((1, 2, 3)) / face.sum()).sqrt()
    return texture * (contrast.median() / contrast).clamp(0.6, 1.5).sqrt()[:, None, None, None]


def packed(images: Tensor) -> dict[str, np.ndarray]:
    """(N, 3, 512, 512) as pictures: WebP bytes end to end, their lengths, and the value of 127 steps of each."""
    top = images.abs().amax((1, 2, 3))
    parts = []
    for image, limit in zip(images, top, strict=True):
        steps = (image / limit * 127 + 128).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(steps).save(buffer, "WEBP", quality=97, method=6)
        parts.append(np.frombuffer(buffer.getvalue(), np.uint8))
    return {"pictures": np.concatenate(parts), "lengths": np.array([len(p) for p in parts]), "limits": top.numpy()}


def components(rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D), components scaled by one standard deviation (count, D), and the rows' coordinates (N, count)."""
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean) @ (rows - mean).T)
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    print(f"{count} components hold {float(values.sum() / (rows - mean).square().sum()):.3f} of the variance")
    root = (len(rows) - 1) ** 0.5
    return mean, (vectors.T @ (rows - mean)) / root, vectors * root


def axis(coordinates: Tensor, value: Tensor) -> Tensor:
    """(K,) ridge regression of a value (N,) on the coordinates (N, K), to be used as a dot product."""
    k = coordinates.shape[1]
    centred = value - value.mean()
    return torch.linalg.solve(coordinates.T @ coordinates + 20 * torch.eye(k), coordinates.T @ centred)


def main() -> None:
    """Build both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("portraits", type=Path)
    names, images = read(parser.parse_args().portraits)
    meshes = meshes_of(images)
    known = torch.isfinite(meshes).all(2).all(1)
    store_mean_shape(meshes[known])
    angles = torch.full((len(names), 3), 90.0)
    angles[known] = shape.pose(meshes[known]).angles()
    good = known & (angles[:, 0].abs() < MOST_TURNED)
    print(f"{len(names)} portraits, {int(known.sum())} with a face, {int(good.sum())} looking ahead")
    names = [n for n, g in zip(names, good, strict=True) if g]
    images = [i for i, g in zip(images, good, strict=True) if g]
    meshes = meshes[good]
    textures = textures_of(images, meshes)
    shapes = shape.pose(meshes).undo(meshes)
    mean, basis, where = components(textures.reshape(len(names), -1), COMPONENTS)
    shape_mean, shape_basis, shape_where = components(shapes.reshape(len(names), -1), SHAPE_COMPONENTS)
    female = torch.tensor([1.0 if n.startswith("female") else -1.0 for n in names])
    size = (1, 3, uv.SIZE, uv.SIZE)
    pictures = torch.cat([mean.reshape(size), basis.reshape(-1, *size[1:])])
    kept = torch.cat([where, shape_where], 1)
    faces = appearance.portray(textures, shapes)
    embeddings = Recogniser(torch.device("cpu")).embed(faces)
    arrays = {
        **packed(pictures),
        "shape_mean": shape_mean.reshape(468, 3).numpy().astype(np.float32),
        "shape_basis": shape_basis.reshape(-1, 468, 3).numpy().astype(np.float16),
        "female": axis(kept, female).numpy().astype(np.float32),
        "portraits": embeddings.numpy().astype(np.float16),
    }
    distances = torch.cdist(embeddings, embeddings) + 9 * torch.eye(len(names))
    print(
        "nearest other portrait, quantiles:", distances.amin(1).quantile(torch.tensor([0.0, 0.05, 0.5, 0.95])).tolist()
    )
    content = "\n".join(names).encode()
    store("nobody", "Active appearance model of people who do not exist", SOURCE, "portraits", content, arrays)


if __name__ == "__main__":
    sys.exit(main())
