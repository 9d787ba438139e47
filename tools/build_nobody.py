"""The model of nobody: `pipeline/data/mean_shape.npz` and `pipeline/data/nobody.npz`, from portraits of
people who do not exist.

    python tools/build_nobody.py PORTRAITS   # a folder of pictures, one face in each

Portraits: faker-js/assets-person-portrait (CC0 1.0), made by a text-to-image model, named female_… and male_….
Method: shapes and textures in the plane of one mean shape (Cootes, Edwards and Taylor, "Active appearance models", ECCV
1998), as logarithms of colour from which the light of each portrait was taken away, and from which smiles were taken by
linear regression; identities are mixtures of them (k-Same: Newton, Sweeney and Malin, 2005). Who has a fringe over a
brow is left out (`portrait_hair.py`); other hair and things before a face are filled from the other portraits (iterated
principal components with weights; De la Torre and Black, "Robust principal component analysis for computer vision",
ICCV 2001).
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
from portrait_ages import apparent_ages
from portrait_hair import bared, over_brows
from torch import Tensor

from pipeline import appearance, shape, uv
from pipeline.filters import blur
from pipeline.look import warped
from pipeline.models import weights
from pipeline.models.centerface import CenterFace
from pipeline.models.facemesh import FaceMesh
from pipeline.models.recogniser import SIZE as RECOGNISED
from pipeline.models.recogniser import Recogniser
from pipeline.picture import Picture, PixelLayout

SOURCE = Source("github", "faker-js/assets-person-portrait", "1", "CC0-1.0")
VIEWS, RIDGE = 4, 2.0  # of the probes for traits
SHAVED = (164, 165, 391, 167, 393, 92, 322, 199, 200, 208, 428, 175)  # points where a beard would be
CHEEKS = (50, 280, 101, 330, 118, 347, 123, 352)
NEAR = 28  # portraits with similar traits that one may be mixed with
SMALL = 128  # pixels of the pictures on which hair is told from skin
MOST_TURNED = 15.0  # degrees; a portrait that looks aside gives no shape and no texture
MOST_MOVED = (0.04, 0.062)  # more than at rest: a smile or an open mouth that no line can take away
# Glasses, and hands at the face: what must not be taken for face.
NOT_BARE = {"female_054.webp", "female_064.webp", "female_066.webp", "female_069.webp", "male_095.webp"}
MOST_HAIR = 0.075  # darkness closely above a brow, in logarithms: a fringe that reaches it
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


def procrustes(meshes: Tensor) -> Tensor:
    """(468, 3) the mean shape. Generalised Procrustes (Gower 1975) over heads that look ahead; symmetric, one unit
    between the eyes' corners."""
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
    return mean


def store_mean_shape(mean: Tensor, expressions: Tensor | None = None) -> None:
    """The mean, and how a shape changes with the expression (2, 468, 3)."""
    arrays = {"shape": mean.numpy().astype(np.float32)}
    if expressions is not None:
        arrays["expressions"] = expressions.numpy().astype(np.float32)
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


def packed(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3, h, w) in -1..1 as WebP pictures: bytes end to end, and the length of each."""
    parts = []
    for image in images:
        steps = (image * 127 + 128).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(steps).save(buffer, "WEBP", quality=97, method=6)
        parts.append(np.frombuffer(buffer.getvalue(), np.uint8))
    return np.concatenate(parts), np.array([len(p) for p in parts])


def at_rest(values: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """`values` (N, ...) without what depends on the expression (N, 2), by least squares; and how they depend on it
    (2, ...)."""
    rows = values.reshape(len(values), -1)
    known = torch.cat([moved, torch.ones(len(moved), 1)], 1)
    slope = torch.linalg.lstsq(known, rows).solution[:2]
    return (rows - moved @ slope).reshape(values.shape), slope.reshape(2, *values.shape[1:])


def beard(textures: Tensor) -> Tensor:
    """(N,) of textures (N, 3, s, s): how much darker than the cheeks upper lip and chin are, in logarithms."""
    size = textures.shape[-1]
    axis = (torch.arange(size) + 0.5) * uv.SIZE / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    means = []
    for named in (SHAVED, CHEEKS):
        mask = torch.zeros(size, size)
        for px, py in uv.coordinates(torch.device("cpu"))[list(named)].tolist():
            mask = torch.maximum(mask, (torch.hypot(x - px, y - py) < 0.06 * uv.PIXELS_PER_UNIT).float())
        means.append((textures.mean(1) * mask).sum((1, 2)) / mask.sum())
    return means[1] - means[0]


def tone(images: list[Tensor], meshes: Tensor) -> Tensor:
    """(N,) the logarithm of the median brightness of plain skin in the portraits themselves."""
    plain = appearance.plain_mask(SMALL, torch.device("cpu"))[0, 0] > 0.5
    weight = torch.tensor([0.2126, 0.7152, 0.0722])[:, None]
    found = [
        (appearance.unwrap(i, m, SMALL)[:, plain] * weight).sum(0).median() for i, m in zip(images, meshes, strict=True)
    ]
    return torch.log(torch.stack(found) + 0.02)


def seen(images: list[Tensor], meshes: Tensor) -> Tensor:
    """(VIEWS, N, 128) what the recogniser says of the portraits, sharp and ever more blurred."""
    recogniser = Recogniser(torch.device("cpu"))
    views = []
    for view in range(VIEWS):
        crops = []
        for image, mesh in zip(images, meshes, strict=True):
            unit = float((mesh[263] - mesh[33]).norm())
            soft = blur(image[None], 0.035 * view * unit)[0] if view else image
            crops.append(warped(as_picture(soft), recogniser.align(mesh[None].numpy())[0], RECOGNISED))
        views.append(torch.cat([recogniser.embed(torch.stack(crops[i : i + 32])) for i in range(0, len(crops), 32)]))
    return torch.stack(views)


def probes(vectors: Tensor, values: Tensor) -> Tensor:
    """(1 + 128, T) ridge regression of traits (N, T) on vectors (V, N, 128), tried on portraits left out."""
    part = torch.arange(vectors.shape[1]) % 5
    guessed = torch.zeros(vectors.shape[0], *values.shape)
    for k in range(5):
        found = _ridge(vectors[:, part != k], values[part != k])
        guessed[:, part == k] = vectors[:, part == k] @ found[1:] + found[0]
    for number, name in enumerate(("sex", "age", "beard", "tone")):
        pair = torch.stack([guessed[..., number].flatten(), values[:, number].repeat(len(vectors))])
        print(f"apparent {name}: correlation {float(torch.corrcoef(pair)[0, 1]):.2f} on portraits left out")
    right = float((guessed[..., 0].sign() == values[:, 0]).float().mean())
    print(f"apparent sex: {right:.3f} right on portraits left out")
    return _ridge(vectors, values)


def _ridge(vectors: Tensor, values: Tensor) -> Tensor:
    rows, wanted = vectors.flatten(0, 1), values.repeat(len(vectors), 1)
    mean, level = rows.mean(0), wanted.mean(0)
    gram = (rows - mean).T @ (rows - mean) + RIDGE * torch.eye(rows.shape[1])
    weights = torch.linalg.solve(gram, (rows - mean).T @ (wanted - level))
    return torch.cat([(level - mean @ weights)[None], weights])


def similar(found: Tensor, group: Tensor) -> Tensor:
    """(N, NEAR) for each row of traits (N, T) the nearest others of the same group."""
    unit = (found - found.mean(0)) / found.std(0)
    distance = torch.cdist(unit, unit) + 1e3 * (group[:, None] != group[None]) + 1e6 * torch.eye(len(found))
    return distance.argsort(dim=1, stable=True)[:, :NEAR]


def groups_too(values: Tensor, group: Tensor) -> Tensor:
    """`values` (N, ...) and below them the means of both groups."""
    return torch.cat([values, *(values[group == g].mean(0, keepdim=True) for g in (0, 1))])


def main() -> None:
    """Build both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("portraits", type=Path)
    names, images = read(parser.parse_args().portraits)
    meshes = meshes_of(images)
    known = torch.isfinite(meshes).all(2).all(1)
    mean = procrustes(meshes[known])
    store_mean_shape(mean)
    angles = torch.full((len(names), 3), 90.0)
    angles[known] = shape.pose(meshes[known]).angles()
    ahead = (known & (angles[:, 0].abs() < MOST_TURNED)).nonzero()[:, 0].tolist()
    names, images, meshes = [names[i] for i in ahead], [images[i] for i in ahead], meshes[ahead]
    textures = textures_of(images, meshes)
    shapes = shape.pose(meshes).undo(meshes)
    female = torch.tensor([1.0 if n.startswith("female") else -1.0 for n in names])
    small = F.interpolate(textures, size=SMALL, mode="area")
    found = torch.stack([female, torch.tensor(apparent_ages(names)), beard(small), tone(images, meshes)], 1)
    maps = probes(seen(images, meshes), found)
    calm = (shape.expression(shapes) < torch.tensor(MOST_MOVED)).all(1)
    hair = over_brows(small)
    for n in (calm & (hair > MOST_HAIR / 2)).nonzero()[:, 0].tolist():
        print(f"{names[n]}: {float(hair[n]):.3f} of hair over a brow{', left out' if hair[n] > MOST_HAIR else ''}")
    calm &= (hair < MOST_HAIR) & torch.tensor([n not in NOT_BARE for n in names])
    print(
        f"{len(angles)} portraits, {int(known.sum())} with a face, {len(ahead)} looking ahead, "
        f"{int(calm.sum())} calm and bare"
    )
    group, found = (female[calm] < 0).long(), found[calm]
    moved = shape.expression(shapes[calm])
    shapes, slope = at_rest(shapes[calm], moved)
    textures, _ = at_rest(bared(textures[calm], group), moved)
    store_mean_shape(mean, slope)
    names = [n for n, c in zip(names, calm.tolist(), strict=True) if c]
    embeddings = Recogniser(torch.device("cpu")).embed(appearance.portray(textures, shapes))
    whole = groups_too(textures, group)
    limits = whole.abs().amax((1, 2, 3))
    unit = whole / limits[:, None, None, None]
    pictures, lengths = packed(unit)
    shrunk, shrunk_lengths = packed(F.interpolate(unit, size=SMALL, mode="area"))
    arrays = {
        "pictures": pictures,
        "pictures_lengths": lengths,
        "small": shrunk,
        "small_lengths": shrunk_lengths,
        "limits": limits.numpy(),
        "rest": groups_too(shapes, group).numpy().astype(np.float16),
        "traits": groups_too(found, group).numpy().astype(np.float16),
        "near": similar(found[:, 1:], group).numpy().astype(np.uint8),
        "groups": group.numpy().astype(np.uint8),
        "probes": maps.numpy().astype(np.float32),
        "portraits": embeddings.numpy().astype(np.float16),
    }
    content = "\n".join(names).encode()
    store("nobody", "Appearance model of people who do not exist", SOURCE, "portraits", content, arrays)


if __name__ == "__main__":
    sys.exit(main())
