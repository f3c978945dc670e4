"""Non-local networks beside a plain form of their formulas, and their layer beside timm's."""

import pytest
import torch

from patchword.models.nonlocal_net import NonLocal
from patchword.weights import Format, Rule
from tests.families.nonlocal_net import TINY
from tests.parity.against_plain import check
from tests.parity.golden import layer_of
from tests.parity.peer import perturbed
from tests.parity.plain_nonlocal_net import network

TIMM = Format(
    "timm",
    Rule("t.*", "theta.*"),
    Rule("p.*", "phi.*"),
    Rule("g.*", "g.*"),
    Rule("z.*", "out.*"),
    Rule("norm.*", "norm.*"),
)


@pytest.mark.parametrize("size", [(16, 48), (35, 25)])
@pytest.mark.parametrize("kind", TINY)
def test_it_is_its_formulas(kind, size):
    check(TINY[kind], network, None, size)


@pytest.mark.peers
@pytest.mark.parametrize("scaled", [True, False])
def test_the_layer_is_timm_s(scaled):
    from timm.layers import NonLocalAttn

    theirs = perturbed(NonLocalAttn(24, use_scale=scaled, rd_channels=8), "nonlocal").eval()
    scale = 24**-0.5 if scaled else 1.0
    ours = NonLocal(24, 8, affinity="embedded_gaussian", scale=scale, pool="none").eval()
    layer_of(TIMM, ours, theirs.state_dict(), "", "")
    x = torch.randn(2, 24, 6, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))
