"""PVT at another image size than its positions are made for, which no live reference reads.

The authors' rule for their tables, by hand, makes of a reference for one size one for another.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from patchword import models
from tests.families import pvt
from tests.parity.compare import loaded
from tests.parity.peer import CLASSES, images, perturbed

pytestmark = pytest.mark.peers


def stretched(table, side):
    """Interpolate a table's cells linearly between their centres; a class token stays."""
    old = int(table.shape[1] ** 0.5)
    first = table.shape[1] - old * old
    cells = table[:, first:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    cells = F.interpolate(cells, size=(side, side), mode="bilinear", align_corners=False)
    return torch.cat([table[:, :first], cells.flatten(2).transpose(1, 2)], dim=1)


@pytest.mark.parametrize("side", [64, 160])
def test_positions_are_stretched_as_the_authors_do(side):
    name = "pvt_tiny"
    config = replace(models.config(name), image_size=(96, 96), depth=(1, 1, 1, 1))
    weights = perturbed(pvt.transformers_s(config, CLASSES).model, name).state_dict()
    ours = loaded(name, config, "transformers", weights)

    other = replace(config, image_size=(side, side))
    theirs = pvt.transformers_s(other, CLASSES).model
    for stage, step in enumerate(config.strides()):
        table = f"pvt.encoder.patch_embeddings.{stage}.position_embeddings"
        weights[table] = stretched(weights[table], side // step)
    theirs.load_state_dict(weights)
    with torch.no_grad():
        batch = images(other)
        torch.testing.assert_close(ours(batch), theirs.eval()(batch).logits)
