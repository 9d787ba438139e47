"""The few operations on images whose fastest way depends on the device: OpenCV on a CPU, batched torch elsewhere.

OpenCV works in place on the tensors' memory, one plane after the other, and is three to twenty times as fast there as
torch (one core, planes of 640x512). Every operation means the same on all devices; what is rounded differs in the last
bits. OpenCV before 5 fetches at places rounded to 1/32 pixel, and 5 still does with two channels at once: hence planes.
"""

from collections.abc import Sequence

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor


def _opencv(image: Tensor) -> bool:
    """Whether OpenCV can reach the tensor's memory."""
    return image.device.type == "cpu"


def fetch(images: Sequence[Tensor], place: Tensor) -> Tensor:
    """(F, C, H, W) what F images (1, C, h, w) of one size show at places (F, 2, H, W): x and y in pixels from the
    centre of the first one, between pixels linear; outside, the border is repeated."""
    if not _opencv(place):
        image = images[0] if len(images) == 1 else torch.cat(list(images))
        size = torch.tensor([image.shape[3], image.shape[2]], device=place.device)[:, None, None]
        grid = torch.addcmul(1 / size - 1, place, 2 / size).permute(0, 2, 3, 1)
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    result = torch.empty(len(images), images[0].shape[1], *place.shape[2:], dtype=place.dtype)
    for image, (x, y), planes in zip(images, place.numpy(), result.numpy(), strict=True):
        for plane, fetched in zip(image[0].numpy(), planes, strict=True):
            cv2.remap(plane, x, y, cv2.INTER_LINEAR, fetched, cv2.BORDER_REPLICATE)
    return result


def enlarge(image: Tensor, factor: float) -> Tensor:
    """(F, C, H, W), H and W times `factor` and rounded down: linear between the centres of pixels."""
    if factor == 1:
        return image
    if not _opencv(image):
        return F.interpolate(image, scale_factor=float(factor), mode="bilinear", align_corners=False)
    return _resized(image, factor, cv2.INTER_LINEAR)


def repeat(image: Tensor, factor: float) -> Tensor:
    """(F, C, H, W) float32 or uint8, H and W times `factor` and rounded down: each pixel for all its place."""
    if factor == 1:
        return image
    if not _opencv(image):
        return F.interpolate(image, scale_factor=float(factor), mode="nearest")
    if factor == int(factor):
        k = int(factor)
        return torch.from_numpy(image.numpy().repeat(k, 3).repeat(k, 2))
    return _resized(image, factor, cv2.INTER_NEAREST)


def _resized(image: Tensor, factor: float, how: int) -> Tensor:
    f, c, h, w = image.shape
    # OpenCV rounds an uneven length up where torch rounds it down: one row or column too many, to be cut off.
    height, width = round(h * factor), round(w * factor)
    result = torch.empty(f, c, height, width, dtype=image.dtype)
    for planes, large in zip(image.numpy(), result.numpy(), strict=True):
        for plane, made in zip(planes, large, strict=True):
            cv2.resize(plane, None, made, factor, factor, how)
    return result[..., : int(h * factor), : int(w * factor)]


def shrink(image: Tensor, down: int, across: int) -> Tensor:
    """(F, C, H // down, W // across): means of whole blocks of pixels."""
    if down == 1 and across == 1:
        return image
    if not _opencv(image):
        return F.avg_pool2d(image, (down, across))
    f, c, h, w = image.shape
    height, width = h // down, w // across
    result = torch.empty(f, c, height, width, dtype=image.dtype)
    whole = image[..., : height * down, : width * across].numpy()
    for planes, small in zip(whole, result.numpy(), strict=True):
        for plane, made in zip(planes, small, strict=True):
            cv2.resize(plane, (width, height), made, 0, 0, cv2.INTER_AREA)
    return result


def convolve(image: Tensor, kernels: Tensor) -> Tensor:
    """(F, C, H, W) under a symmetric kernel along rows and columns, one (1, K) for all or (F, K) one for each; K is
    odd, the border is repeated."""
    f, c, h, w = image.shape
    r, each = kernels.shape[1] // 2, len(kernels)
    if _opencv(image):
        result = torch.empty(f, c, h, w, dtype=image.dtype)
        by_face = kernels.expand(f, -1).numpy()
        for planes, kernel, blurred in zip(image.numpy(), by_face, result.numpy(), strict=True):
            for plane, made in zip(planes, blurred, strict=True):
                cv2.sepFilter2D(plane, -1, kernel, kernel, made, borderType=cv2.BORDER_REPLICATE)
        return result
    # With one kernel the pictures are a batch; with several they are channels, each with a kernel of its own.
    flat = image.reshape(f * c, 1, h, w) if each == 1 else image.reshape(1, f * c, h, w)
    groups = 1 if each == 1 else f * c
    kernels = kernels if each == 1 else kernels.repeat_interleave(c, 0)
    flat = F.conv2d(F.pad(flat, (r, r, 0, 0), mode="replicate"), kernels[:, None, None], groups=groups)
    flat = F.conv2d(F.pad(flat, (0, 0, r, r), mode="replicate"), kernels[:, None, :, None], groups=groups)
    return flat.reshape(f, c, h, w)


def exponential(image: Tensor) -> Tensor:
    """e to the power of each value, in place. The tensor is contiguous."""
    if not _opencv(image):
        return image.exp_()
    row = image.view(1, -1).numpy()
    cv2.exp(row, row)
    return image


def put(samples: Tensor, new: Tensor, where: Tensor, top: int) -> None:
    """Write what `new` (h, w) float32 says into samples (h, w) uint8 or int16, in place, rounded and within 0 and
    `top`, where the mask (h, w) uint8 isn't 0. `new` is used up."""
    if samples.numel() == 0:
        return
    new.clamp_(0, top)
    if not _opencv(samples):
        samples.copy_(torch.where(where > 0, new.round_().to(samples.dtype), samples))
    elif samples.dtype == torch.uint8:
        cv2.copyTo(cv2.convertScaleAbs(new.numpy()), where.numpy(), samples.numpy())
    else:
        cv2.copyTo(new.round_().to(samples.dtype).numpy(), where.numpy(), samples.numpy())
