"""Relative biases are what attention adds, cell by cell."""

from dataclasses import replace

import pytest
import torch

from patchword.inspection.positions import relative_biases
from patchword.inspection.stem import position_similarity
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.inspection.tiny import SWIN, VIT, images, perturbed


def test_a_windows_bias_depends_on_the_offset_alone():
    backbone, batch = perturbed(SWIN), images(SWIN)
    found = relative_biases(backbone, batch)
    assert list(found) == [f"stages.{i}.blocks.{j}.attn.attend" for i in (0, 1) for j in (0, 1)]
    for name, bias in found.items():
        attention = backbone.get_submodule(name.removesuffix(".attend"))
        assert bias.shape == (attention.num_heads, 4, 4, 4, 4)
        table = attention.bias.table.detach()
        for query, key in (((0, 0), (0, 0)), ((1, 2), (3, 0)), ((3, 3), (0, 1))):
            down, across = (a - b + 3 for a, b in zip(query, key, strict=True))
            assert torch.equal(bias[:, *query, *key], table[down * 7 + across])


@pytest.mark.parametrize("name", ["beit", "swinv2", "levit", "vil", "dat"])
def test_biases_of_every_kind_come_out_as_they_are_added(name):
    kinds = {kind: made(config) for kind, config in TINY[name].items()}
    found = {k: relative_biases(m, contract_images(m.config)) for k, m in kinds.items()}
    assert any(found.values())
    for biases in found.values():
        for bias in biases.values():
            assert bias.ndim == 5 and bias.shape[1:3] == bias.shape[3:] and bias.isfinite().all()
            assert bias.std() > 0


def test_where_nothing_is_added_nothing_is_found():
    assert relative_biases(perturbed(VIT), images(VIT)) == {}


def test_sines_and_cosines_are_alike_near_by():
    config = replace(VIT, position="sincos_2d", image_size=(32, 32), embed_dim=32)
    found = position_similarity(perturbed(config))
    row = found[0, 0, 0]
    assert (row[1:3] < row[:2]).all() and row[0] == pytest.approx(1, abs=1e-5)
