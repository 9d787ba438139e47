"""Drawing meshes: every pixel once, the nearest triangle, and values that vary as they should."""

import torch

from pipeline.raster import rasterise

SQUARE = torch.tensor([[0.0, 0, 0], [8, 0, 0], [8, 8, 0], [0, 8, 0]])
TWO = torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_two_triangles_cover_a_square_without_holes() -> None:
    drawn = rasterise(SQUARE[None], TWO, 10, 10)
    assert bool((drawn.triangle[0, :8, :8] >= 0).all())
    assert bool((drawn.triangle[0, 8:] == -1).all())
    assert torch.allclose(drawn.weights[0, :8, :8].sum(-1), torch.ones(8, 8), atol=1e-4)


def test_values_vary_linearly_over_both_triangles() -> None:
    drawn = rasterise(SQUARE[None], TWO, 8, 8)
    value = drawn.interpolate(SQUARE[None, :, :2] * 3 + 1, TWO)[0]
    x = torch.arange(8) + 0.5
    assert torch.allclose(value[0], (x * 3 + 1).expand(8, 8), atol=1e-4)
    assert torch.allclose(value[1], (x * 3 + 1)[:, None].expand(8, 8), atol=1e-4)


def test_the_nearer_triangle_hides_the_other_whatever_their_order() -> None:
    near = torch.tensor([[2.0, 2, -1], [6, 2, -1], [2, 6, -1]])
    for order in ([[0, 1, 2], [0, 2, 3], [4, 5, 6]], [[4, 5, 6], [0, 1, 2], [0, 2, 3]]):
        triangles = torch.tensor(order)
        drawn = rasterise(torch.cat([SQUARE, near])[None], triangles, 8, 8)
        front = order.index([4, 5, 6])
        assert int(drawn.triangle[0, 3, 3]) == front
        assert int(drawn.triangle[0, 7, 7]) != front


def test_faces_of_a_batch_do_not_mix_and_points_outside_do_no_harm() -> None:
    other = SQUARE + torch.tensor([100.0, -3, 0])
    drawn = rasterise(torch.stack([SQUARE, other, SQUARE - 4]), TWO, 8, 8)
    alone = rasterise(SQUARE[None], TWO, 8, 8)
    assert torch.equal(drawn.triangle[0], alone.triangle[0])
    assert bool((drawn.triangle[1] == -1).all())
    assert int((drawn.triangle[2] >= 0).sum()) == 16
