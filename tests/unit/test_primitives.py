"""What OpenCV does on a CPU is what torch does elsewhere."""

from collections.abc import Callable

import pytest
import torch
from faces import identities, mesh, portrait
from torch import Tensor

from pipeline import filters, primitives
from pipeline.identity import load
from pipeline.picture import Picture
from pipeline.primitives import convolve, enlarge, exponential, fetch, put, repeat, shrink
from pipeline.replace import Face, Replacer
from pipeline.shape import mean_shape

Both = Callable[[Callable[[], Tensor]], tuple[Tensor, Tensor]]


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Both:
    """What a function gives with OpenCV, and with torch."""

    def run(function: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        first = function()
        with monkeypatch.context() as patch:
            patch.setattr(primitives, "_opencv", lambda image: False)
            torch.manual_seed(1)
            return first, function()

    return run


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(7, 9), (64, 48), (300, 220)])
def test_fetching_is_exact_between_pixels_and_repeats_the_border(
    both: Both, channels: int, size: tuple[int, int]
) -> None:
    def run() -> Tensor:
        images = [torch.rand(1, channels, *size) * 255 for _ in range(2)]
        place = torch.rand(2, 2, 50, 60) * (torch.tensor([size[1], size[0]])[:, None, None] + 20) - 10
        return fetch(images, place)

    opencv, plain = both(run)
    # Places rounded to 1/32 of a pixel would be off by up to 4 levels.
    assert float((opencv - plain).abs().max()) < 0.05


def test_a_place_is_counted_from_the_centre_of_the_first_pixel(both: Both) -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    place = torch.tensor([[1.0, 2.5, -3.0, 9.0], [0.0, 1.0, 1.0, 2.0]]).reshape(1, 2, 1, 4)
    for result in both(lambda: fetch([image], place)):
        assert torch.allclose(result, torch.tensor([[[[1.0, 6.5, 4.0, 11.0]]]]), atol=1e-4)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 4.5, 8])
@pytest.mark.parametrize("size", [(5, 7), (33, 41), (118, 112)])
def test_enlarging_and_repeating(both: Both, factor: float, size: tuple[int, int]) -> None:
    smooth = both(lambda: enlarge(torch.rand(2, 3, *size), factor))
    assert smooth[0].shape == (2, 3, int(size[0] * factor), int(size[1] * factor))
    torch.testing.assert_close(*smooth, atol=2e-5, rtol=0)
    hard = both(lambda: repeat((torch.rand(2, 1, *size) * 255).byte(), factor))
    assert hard[0].dtype == torch.uint8
    assert torch.equal(*hard)


@pytest.mark.parametrize("blocks", [(1, 1), (2, 2), (1, 2), (3, 4)])
def test_shrinking_a_part_of_an_image(both: Both, blocks: tuple[int, int]) -> None:
    torch.testing.assert_close(*both(lambda: shrink(torch.rand(2, 3, 50, 61)[..., 3:40, 2:59], *blocks)))


@pytest.mark.parametrize("radius", [1, 2, 30])
@pytest.mark.parametrize("each", [False, True])
def test_convolving_with_kernels_wider_than_the_image(both: Both, radius: int, each: bool) -> None:
    def run() -> Tensor:
        half = torch.rand(2 if each else 1, radius + 1)
        kernels = torch.cat([half, half.flip(1)[:, 1:]], 1)
        return convolve(torch.rand(2, 3, 21, 34), kernels / kernels.sum(1, keepdim=True))

    torch.testing.assert_close(*both(run), atol=1e-5, rtol=0)


def test_exponentials(both: Both) -> None:
    torch.testing.assert_close(*both(lambda: exponential(torch.randn(2, 3, 20, 30) * 3)))


@pytest.mark.parametrize(("dtype", "top"), [(torch.uint8, 255), (torch.int16, 1023)])
def test_what_is_put_is_rounded_and_bounded_and_leaves_the_rest(both: Both, dtype: torch.dtype, top: int) -> None:
    def run() -> Tensor:
        whole = (torch.rand(60, 80) * top).to(dtype)
        before, part = whole.clone(), whole[5:45, 10:70]
        new = (torch.rand(40, 60) - 0.1) * top * 1.3
        wanted = new.clamp(0, top).round().to(dtype)
        where = (torch.rand(40, 60) > 0.4).byte()
        put(part, new, where, top)
        before[5:45, 10:70] = torch.where(where > 0, wanted, before[5:45, 10:70])
        assert torch.equal(whole, before)
        put(whole[:0, :60], new[:0], where[:0], top)
        return whole

    assert torch.equal(*both(run))


@pytest.mark.parametrize("scale", [14, 60, 200])
def test_a_face_is_drawn_alike(both: Both, scale: float) -> None:
    source = portrait(640, 480, scale)
    meshes = [mesh(scale, x, 240, roll=7) for x in (200, 420)]

    def run() -> Tensor:
        picture = Picture(0, 0, tuple(p.clone() for p in source.planes), source.layout)  # type: ignore[arg-type]
        faces = [Face(picture, m, mean_shape(), i) for m, i in zip(meshes, identities("a", "b"), strict=True)]
        Replacer(load(), torch.device("cpu")).apply(faces)
        return torch.cat([p.flatten().int() for p in picture.planes])

    opencv, plain = both(run)
    difference = (opencv - plain).abs()
    assert int(difference.max()) <= 2
    assert difference.float().mean() < 0.02


def test_small_pictures_are_blurred_by_matrices_as_large_ones_by_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    image, sigma = torch.rand(2, 3, 26, 33), torch.tensor([3.0, 14.0])
    small = filters.blur(image, sigma)
    monkeypatch.setattr(filters, "_MATRIX", 0)
    torch.testing.assert_close(small, filters.blur(image, sigma), atol=1e-5, rtol=0)
