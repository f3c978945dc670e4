"""Biases by offset at another grid are what timm makes of them when it resizes a model."""

import pytest
import torch
from torch import nn

from patchword.models.beit import GridBias

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(
    ("old", "new"), [((14, 14), (24, 24)), ((3, 4), (5, 6)), ((4, 3), (5, 7)), ((7, 7), (5, 6))]
)
@pytest.mark.filterwarnings("ignore:.*searchsorted", "ignore:.*non-tuple sequence")
def test_a_table_is_resized_as_timm_s(old, new):
    from timm.layers import resize_rel_pos_bias_table

    torch.manual_seed(0)
    before, after = GridBias(old, 3), GridBias(new, 3)
    nn.init.normal_(before.table)
    assert "x".join(map(str, new)) in after.refit(before)
    wanted = resize_rel_pos_bias_table(before.table.detach(), new, after.table.shape, old)
    torch.testing.assert_close(after.table.detach(), wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(before(new), after(new))
    assert torch.equal(after.table[-3:], before.table[-3:])


def test_a_single_cell_s_bias_is_that_of_all():
    before, after = GridBias((1, 3), 2), GridBias((2, 4), 2)
    nn.init.normal_(before.table)
    after.refit(before)
    cells = after.table[:-3].unflatten(0, (3, 7))
    assert torch.equal(cells[0], cells[1]) and torch.equal(cells[0], cells[2])
