"""Gaussian blurs and what is made of them, batched, with one result on every device."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.primitives import convolve, enlarge, shrink


def blur(image: Tensor, sigma: float | Tensor) -> Tensor:
    """(F, C, H, W) under a Gaussian of `sigma` pixels, one for all or (F,) one for each; the border is repeated."""
    if not isinstance(sigma, Tensor):
        return convolve(image, _kernel(round(sigma, 3)).to(image.device)[None])
    longest = max(image.shape[2:])
    # One radius for all: as the widest needs, within the picture.
    radius = max(1, min(math.ceil(2.5 * float(sigma.amax())), longest - 1))
    if longest > _MATRIX:
        return convolve(image, _kernels(sigma, radius))
    each = tuple(sigma.tolist())
    down, across = (_matrix(each, radius, length, image.device) for length in image.shape[2:])
    return down @ image @ across.mT


_MATRIX = 64  # longest side of pictures that are blurred by matrices


@lru_cache(maxsize=64)
def _kernel(sigma: float) -> Tensor:
    x = torch.arange(-math.ceil(2.5 * sigma), math.ceil(2.5 * sigma) + 1, dtype=torch.float32)
    k = torch.exp(-0.5 * (x / sigma) ** 2)
    return k / k.sum()


def _kernels(sigma: Tensor, radius: int) -> Tensor:
    """(F, 2 * radius + 1) a kernel for each."""
    x = torch.arange(-radius, radius + 1, dtype=torch.float32, device=sigma.device)
    k = torch.exp(-0.5 * (x / sigma[:, None]) ** 2)
    return k / k.sum(1, keepdim=True)


@lru_cache(maxsize=8)
def _matrix(sigmas: tuple[float, ...], radius: int, length: int, device: torch.device) -> Tensor:
    """(F, 1, length, length) what blurs columns of `length` pixels when it is multiplied with them: for small pictures
    the fastest way. Kept, because the same picture is blurred more than once."""
    kernels = _kernels(torch.tensor(sigmas, device=device), radius)
    taken = torch.arange(length, device=device)[:, None] + torch.arange(-radius, radius + 1, device=device)
    taken = taken.clamp(0, length - 1).expand(len(sigmas), -1, -1)
    result = torch.zeros(len(sigmas), length, length, device=device)
    return result.scatter_add_(2, taken, kernels[:, None].expand_as(taken))[:, None]


def spread(image: Tensor, weight: Tensor, sigma: Tensor) -> Tensor:
    """The weighted local mean of (F, C, H, W) under a wide Gaussian of `sigma` (F,) pixels, defined also where the
    weight (F, 1, H, W) is 0. Knutsson and Westin, "Normalized and differential convolution", CVPR 1993."""
    both = torch.cat([image * weight, weight], 1)
    near = blur(both, sigma)
    # Far from any weight the narrow mean has nothing to say: a wider one fills in.
    wide = blur(both, 2.5 * sigma) + 1e-4 * both.mean((2, 3), keepdim=True) + 1e-9
    base = wide[:, :-1] / wide[:, -1:]
    return (near[:, :-1] + 0.02 * base) / (near[:, -1:] + 0.02)


def match_bands(
    image: Tensor, like: Tensor, where: Tensor, unit: float = 1.0, most: tuple[float, float] = (2.0, 1.5)
) -> Tensor:
    """Brightness (F, 1, H, W), sides multiples of 4, with as much fine detail as `like` has where the mask (F, 1, H, W)
    is more than a trace: as sharp, as grainy, as softened by compression. `unit` is how far white is from black. Two
    bands of a Laplacian pyramid (Burt and Adelson, 1983), each scaled as a whole, by `most` (the finer, the coarser
    one) at most; how strong they are is measured on some rows."""
    pair, region = torch.cat([_some(image), _some(like)], 1), (_some(where) > 0.02).float()
    nothing = 1e-8 * unit**2
    fine = _gain(_fine(pair), region, len(image), nothing).clamp_(0.1, most[0])
    middle = _gain(_fine(shrink(pair, 2, 2)), shrink(region, 2, 2), len(image), nothing).clamp_(0.2, most[1])
    # image + (fine - 1) * its finest band + (middle - 1) * the next one, with as little as possible at full size
    half = shrink(image, 2, 2)
    rest = torch.addcmul((1 - fine) * half, middle - 1, _fine(half))
    return enlarge(rest, 2).addcmul_(image, fine)


def _some(image: Tensor) -> Tensor:
    """(F, C, H, W) to (F * N, C, 16, W): of a large picture every third strip of 16 rows; a small one as it is."""
    f, c, h, w = image.shape
    if h < 96:
        return image
    strips = image[:, :, : h // 16 * 16].reshape(f, c, h // 16, 16, w)[:, :, 1::3]
    return strips.transpose(1, 2).reshape(-1, c, 16, w)


def _fine(image: Tensor) -> Tensor:
    """The finest band of (F, C, H, W)."""
    return image - enlarge(shrink(image, 2, 2), 2)


def _gain(band: Tensor, where: Tensor, faces: int, nothing: float) -> Tensor:
    """(F, 1, 1, 1) what the first of two channels must be scaled by to be as strong as the second. `band` and `where`
    hold as many strips for each of the faces; `nothing` is an energy that doesn't matter."""
    energy = (band.square() * where).sum((2, 3)).reshape(faces, -1, 2).sum(1)
    energy = energy / where.sum((1, 2, 3)).reshape(faces, -1).sum(1).clamp_min(1)[:, None] + nothing
    return (energy[:, 1] / energy[:, 0]).sqrt()[:, None, None, None]


def guided(image: Tensor, guide: Tensor, radius: int, eps: float) -> Tensor:
    """The image (F, 1, H, W), smooth but for the edges that the guide (F, 1, H, W) has within `radius` pixels. `eps`:
    variance of the guide below which it has none. He and Sun, "Fast guided filter", arXiv 1505.00996, 2015: what is
    smooth is worked out on a small copy."""
    step = max(1, radius // 3)
    both = F.avg_pool2d(torch.cat([image, guide], 1), step, ceil_mode=True, count_include_pad=False)
    parts = torch.cat([both, both[:, 1:] * both], 1)
    sigma = max(0.5, radius / step / 1.7)  # as wide as a box of this radius
    mean = blur(parts, sigma)
    slope = (mean[:, 2:3] - mean[:, 1:2] * mean[:, :1]) / (mean[:, 3:4] - mean[:, 1:2].square() + eps)
    level = blur(torch.cat([slope, mean[:, :1] - slope * mean[:, 1:2]], 1), sigma)
    level = enlarge(level, step)[..., : guide.shape[-2], : guide.shape[-1]]
    return level[:, :1] * guide + level[:, 1:]
