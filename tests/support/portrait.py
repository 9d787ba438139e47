"""A portrait of a person who does not exist, as tests need it. Read with PyAV, which a bare GPU machine has too."""

from pathlib import Path

import av
import torch
from torch import Tensor

from pipeline.picture import Picture, PixelLayout, write_rgb

FILE = Path(__file__).parent.parent / "data" / "portrait.jpg"


def portrait() -> Tensor:
    """(3, 384, 384) RGB 0..1; the face is about 150 px wide."""
    with av.open(str(FILE)) as container:
        frame = next(container.decode(video=0))
        return torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255


def as_picture(image: Tensor, number: int = 0, rotation: int = 0, device: str = "cpu") -> Picture:
    """The image (3, H, W), even sides, as a 4:2:0 frame. `rotation` as in PixelLayout; the pixels aren't turned."""
    height, width = image.shape[1:]
    layout = PixelLayout(width, height, 8, 1, 1, "bt709", False, rotation)
    planes = [torch.zeros(s, dtype=torch.uint8) for s in ((height, width), *[(height // 2, width // 2)] * 2)]
    picture = Picture(number, number, (planes[0], planes[1], planes[2]), layout)
    write_rgb(picture, (0, 0, width, height), image, torch.ones(height, width))
    picture.planes = tuple(p.to(device) for p in picture.planes)  # type: ignore[assignment]
    return picture


def scene(width: int, height: int, *faces: tuple[int, int, int]) -> Tensor:
    """(3, height, width): a plain room with the portrait at each (x, y, side)."""
    room = torch.linspace(0.3, 0.6, height)[None, :, None].expand(3, height, width).clone()
    for x, y, side in faces:
        small = torch.nn.functional.interpolate(portrait()[None], (side, side), mode="bilinear", antialias=True)[0]
        room[:, y : y + side, x : x + side] = small
    return room
