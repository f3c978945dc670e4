"""What detectors read between cells: both forms of deformable attention, and regions."""

import pytest
import torch

from patchword.heads.deformable_attention import DeformableAttention
from patchword.heads.sampling import gathered, interpolated
from patchword.heads.sparse_rcnn import level_of, regions_of

GRIDS = ((5, 7), (3, 4), (1, 2))


def drawn(dtype=torch.float32, requires_grad=True):
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(2, 35 + 12 + 2, 3, 4, generator=draw, dtype=dtype)
    points = torch.rand(2, 6, 3, 3, 2, 2, generator=draw, dtype=dtype) * 1.6 - 0.3
    weights = torch.rand(2, 6, 3, 3, 2, generator=draw, dtype=dtype)
    return [t.requires_grad_(requires_grad) for t in (values, points, weights)]


def slopes(form, values, points, weights):
    read = form(values, GRIDS, points, weights)
    ramp = torch.linspace(-1, 1, read.numel(), dtype=read.dtype).view_as(read)
    return [read.detach(), *torch.autograd.grad((read * ramp).sum(), (values, points, weights))]


def theirs(values, grids, points, weights):
    from transformers.models.deformable_detr import modeling_deformable_detr as theirs

    shapes = torch.tensor(grids)
    operator = theirs.MultiScaleDeformableAttention()
    return operator(values, shapes, list(grids), None, points, weights, 64)


@pytest.mark.parametrize("form", [interpolated, pytest.param(theirs, marks=pytest.mark.peers)])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_forms_are_equal_forward_and_backward(form, dtype, limit):
    for ours, other in zip(
        slopes(gathered, *drawn(dtype)), slopes(form, *drawn(dtype)), strict=True
    ):
        assert (ours - other).abs().max() <= limit * other.abs().max()


def test_slopes_are_those_of_small_steps():
    torch.autograd.gradcheck(lambda *t: gathered(t[0], GRIDS, *t[1:]), drawn(torch.float64))


def test_points_far_beyond_the_maps_are_read_as_nothing_and_learn_nothing():
    values, points, weights = drawn()
    far = (points + 7).detach().requires_grad_()
    read, of_values, of_points, _ = slopes(gathered, values, far, weights)
    assert not read.any() and not of_values.any() and not of_points.any()


def test_second_gradients_are_refused():
    values, points, weights = drawn()
    read = gathered(values, GRIDS, points, weights)
    with pytest.raises(RuntimeError, match="no second gradients"):
        torch.autograd.grad(read.sum(), values, create_graph=True)


def test_a_fresh_head_looks_its_own_way():
    attention = DeformableAttention(8, (4, 2, 3))
    ways = attention.offsets.bias.view(4, 2, 3, 2)
    assert ways[:, 0, 0].round().tolist() == [[1, 0], [0, 1], [-1, 0], [0, -1]]
    assert torch.equal(ways[:, 1, 2], 3 * ways[:, 0, 0])


def test_regions_are_torchvision_s():
    from torchvision.ops import roi_align

    draw = torch.Generator().manual_seed(0)
    strides = (4, 8, 16, 32)
    maps = [torch.randn(2, 3, 256 // s, 320 // s, generator=draw).double() for s in strides]
    corner, side = torch.rand(2, 2, 40, 2, generator=draw).double()
    boxes = torch.cat([300 * corner - 20, 300 * corner + 320 * side**3], dim=-1)
    level = level_of(boxes, strides)
    assert level.unique().tolist() == [0, 1, 2]
    found = regions_of(maps, strides, boxes, 7)
    for image in range(2):
        for number in range(40):
            at = int(level[image, number])
            wanted = roi_align(
                maps[at][image : image + 1],
                [boxes[image, number : number + 1]],
                7,
                1 / strides[at],
                2,
                aligned=True,
            )
            ours = found[image, number].T.view(3, 7, 7)
            torch.testing.assert_close(ours, wanted[0], rtol=1e-9, atol=1e-9)


def test_a_box_is_read_at_the_level_for_its_size():
    sides = torch.tensor([10.0, 111, 112, 223, 224, 447, 448, 2000])
    boxes = torch.stack([0 * sides, 0 * sides, sides, sides], dim=-1)[None]
    assert level_of(boxes, (4, 8, 16, 32)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]
    assert level_of(boxes, (16, 16)).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
