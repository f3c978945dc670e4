"""Where queries look is what the decoder's last layer reads, worked out again."""

import pytest
import torch

from patchword.heads.deformable_attention import DeformableCross
from patchword.heads.deformable_detr import DeformableDETRConfig
from patchword.heads.detr import DETRConfig
from patchword.heads.queries import PlacedCross
from patchword.heads.sampling import gathered
from patchword.heads.sparse_rcnn import SparseRCNNConfig
from patchword.inspection.queries import gathered as summed
from patchword.inspection.queries import listening, looks, sampled
from patchword.layers import merge_heads
from tests.contract.tiny import images, made
from tests.families import vit

SMALL = {"embed_dim": 32, "num_heads": 2, "mlp_dim": 48, "num_queries": 5, "frozen_norms": False}
DEFORMABLE = {"depth": (1, 2), "num_levels": 2, "points": 3, **SMALL}
SIZES = torch.tensor([[12, 16], [8, 9]])


def detector(config):
    torch.manual_seed(0)
    model = config.assemble(made(vit.VIT), 3).eval()
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def part(model, kind):
    return next(p for p in model.head.decoder[-1].modules() if isinstance(p, kind))


def test_cross_attention_is_what_a_query_mixes():
    model, batch = detector(DETRConfig(depth=(1, 2), **SMALL)), images(vit.VIT, 2)
    found = looks(model, batch)
    assert found.shape[:2] == (2, 5)
    torch.testing.assert_close(found.sum(dim=(2, 3)), torch.ones(2, 5))
    read = part(model, PlacedCross)
    with listening({"attend": read.attend}) as heard, torch.no_grad():
        model(batch)
    q, k, v, mask = heard["attend"].given
    weights = read.attend.weights(q, k, v, mask)
    torch.testing.assert_close(merge_heads(weights @ v), merge_heads(heard["attend"].found))
    torch.testing.assert_close(found.flatten(2), weights.mean(dim=1))


def test_nothing_is_read_of_the_padding():
    batch = images(vit.VIT, 2)
    size = batch.shape[2:]
    sizes = torch.tensor([[*size], [size[0] // 2, size[1] // 2]])
    found = looks(detector(DETRConfig(depth=(1, 2), **SMALL)), batch, sizes)
    rows, columns = found.shape[2:]
    assert found[0].all()
    assert (
        not found[1, :, (rows + 1) // 2 :].any() and not found[1, :, :, (columns + 1) // 2 :].any()
    )


@pytest.mark.parametrize("refine", [False, True])
def test_sampled_points_give_what_is_read(refine):
    model, batch = detector(DeformableDETRConfig(refine=refine, **DEFORMABLE)), images(vit.VIT, 2)
    read = part(model, DeformableCross)
    with torch.no_grad():
        points, weights = sampled(model, model.head, batch, None)
        with listening({"read": read}) as heard:
            model(batch)
        _, _, _, memory, scales = heard["read"].given
        values = read.value(memory).unflatten(-1, (2, -1))
        again = read.proj(gathered(values, scales.grids, points, weights))
    torch.testing.assert_close(again, heard["read"].found)
    found = looks(model, batch)
    assert ((found >= 0) & (found.sum(dim=(2, 3), keepdim=True) <= 1 + 1e-5)).all()


def test_points_are_gathered_where_they_lie():
    points = torch.tensor([[[[0.0, 0.0], [0.99, 0.0], [0.5, 0.99], [1.2, 0.5]]]])
    found = summed(points, torch.tensor([[[0.1, 0.2, 0.3, 0.4]]]), torch.Size([24, 48]))
    assert found.shape == (1, 1, 24, 48)
    assert (found[0, 0, 0, 0], found[0, 0, 0, 47], found[0, 0, 23, 24]) == (0.1, 0.2, 0.3)
    assert found.sum().item() == pytest.approx(0.6)


def test_regions_have_no_map():
    config = SparseRCNNConfig(
        embed_dim=32, num_heads=2, depth=1, mlp_dim=48, num_queries=4, hidden=8, frozen_norms=False
    )
    assert looks(config.assemble(made(vit.VIT), 3), images(vit.VIT, 1)) is None
