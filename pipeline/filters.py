"""Gaussian blurs and what is made of them, batched, with one result on every device."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=64)
def _kernel(sigma: float) -> Tensor:
    radius = max(1, math.ceil(2.5 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    k = torch.exp(-0.5 * (x / sigma) ** 2)
    return k / k.sum()


def blur(image: Tensor, sigma: float) -> Tensor:
    """(F, C, H, W) under a Gaussian of `sigma` pixels; the border is repeated."""
    kernel = _kernel(round(sigma, 3)).to(image.device)
    r, (f, c, h, w) = len(kernel) // 2, image.shape
    flat = image.reshape(f * c, 1, h, w)
    flat = F.conv2d(F.pad(flat, (r, r, 0, 0), mode="replicate"), kernel[None, None, None])
    flat = F.conv2d(F.pad(flat, (0, 0, r, r), mode="replicate"), kernel[None, None, :, None])
    return flat.reshape(f, c, h, w)


def spread(image: Tensor, weight: Tensor, sigma: float) -> Tensor:
    """The weighted local mean of (F, C, H, W) under a wide Gaussian, defined also where the weight (F, 1, H, W) is 0.
    Knutsson and Westin, "Normalized and differential convolution", CVPR 1993. Done on a small copy: a wide Gaussian
    leaves nothing that a small copy can't hold."""
    h, w = image.shape[-2:]
    step = max(1, int(sigma / 4))
    both = torch.cat([image * weight, weight], 1)
    if step > 1:
        both = F.avg_pool2d(both, step, ceil_mode=True, count_include_pad=False)
    r = sigma / step
    near = blur(both, r)
    # Far from any weight the narrow mean has nothing to say: a wider one fills in.
    wide = blur(both, 2.5 * r) + 1e-4 * both.mean((2, 3), keepdim=True) + 1e-9
    base = wide[:, :-1] / wide[:, -1:]
    mean = (near[:, :-1] + 0.02 * base) / (near[:, -1:] + 0.02)
    if step == 1:
        return mean
    full = F.interpolate(mean, size=(mean.shape[2] * step, mean.shape[3] * step), mode="bilinear", align_corners=False)
    return full[..., :h, :w]


def match_bands(image: Tensor, like: Tensor, where: Tensor) -> Tensor:
    """The image (F, 3, H, W) with as much fine detail as `like` has in the region (F, 1, H, W): as sharp, as grainy, as
    softened by compression. Two bands, each scaled as a whole."""
    luma = torch.tensor([0.299, 0.587, 0.114], device=image.device)[None, :, None, None]
    pair = torch.cat([(image * luma).sum(1, keepdim=True), (like * luma).sum(1, keepdim=True)], 1)
    fine, mid = blur(pair, 1.0), blur(pair, 2.2)
    total = where.sum((1, 2, 3)).clamp_min(1)
    gains = []
    for band, low, high in ((pair - fine, 0.1, 2.0), (fine - mid, 0.2, 1.5)):
        energy = (band.square() * where).sum((2, 3)) / total[:, None] + 1e-8
        gains.append((energy[:, 1] / energy[:, 0]).sqrt().clamp(low, high)[:, None, None, None])
    delta = (gains[0] - 1) * (pair - fine)[:, :1] + (gains[1] - 1) * (fine - mid)[:, :1]
    return image + delta
