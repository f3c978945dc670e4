"""The operators that ours are timed against are the same functions: outputs and all gradients."""

import pytest
import torch

from patchword.heads.classify import classifier
from tests.contract.tiny import CONFIGS, images
from tests.parity.compare import gradients
from tests.parity.peer import perturbed
from tests.parity.theirs import TABLES, swapped

BEYOND = (
    "cswin-padded",
    "cswin-wide_stripes",
    "nonlocal_net-concatenation",
    "vil-relative",
    "vil-cyclic",
    "vil-local",
)  # what the operators there leave out
KINDS = [k for k in CONFIGS if k.partition("-")[0] in TABLES and k not in BEYOND]
NORMED = ("axial", "deepvit", "san")  # operators with batch norms of their own
CASES = [(k, False) for k in KINDS] + [(k, True) for k in KINDS if k.startswith(NORMED)]


@pytest.mark.parametrize(("kind", "learning"), CASES)
def test_they_are_ours(kind, learning):
    torch.manual_seed(0)
    config = CONFIGS[kind]
    ours = perturbed(classifier(config.build(), 5), kind).double().train(learning)
    theirs = swapped(ours, TABLES[kind.partition("-")[0]])
    assert len([*theirs.modules()]) > len([*ours.modules()])
    batch = images(config, 4).double()
    found, wanted = ours(batch), theirs(batch)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    pairs = zip(gradients(ours, found).items(), gradients(theirs, wanted).values(), strict=True)
    for (name, slope), other in pairs:
        limit = 1e-9 * (1 + other.abs().max().item())
        assert (slope - other).abs().max() <= limit, name
