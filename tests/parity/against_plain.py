"""Our networks beside plain forms of them: a paper's formulas in loops, in double precision."""

import torch

from patchword.heads.classify import classifier
from tests.parity.compare import gradients
from tests.parity.peer import images, perturbed

CLASSES = 5
RTOL = 1e-9  # of the largest value of each tensor


def check(config, plain, format_, size=None):
    """Hold logits and all gradients against a plain form's.

    Args:
        config: of our network.
        plain: (weights, images, config) -> logits; the weights are under the format's names.
        format_: how the plain form names the weights; as our classifier does if None.
        size: of the images; the config's if None.
    """
    torch.manual_seed(0)
    model = perturbed(classifier(config.build(), CLASSES), repr(config)).double().eval()
    batch = images(config, size=size).double()
    state = model.state_dict()
    theirs = state if format_ is None else format_.save(state)
    weights = {
        name: tensor.detach().clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in theirs.items()
    }
    logits, wanted = model(batch), plain(weights, batch, config)
    near(logits.detach(), wanted.detach(), "logits")
    found = gradients(model, logits)
    generator = torch.Generator().manual_seed(1)
    (wanted * torch.randn(wanted.shape, generator=generator)).sum().backward()
    slopes = {n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in weights.items()}
    slopes = slopes if format_ is None else format_.load(slopes)
    for name, slope in found.items():
        near(slope, slopes[name], name)


def near(found, wanted, name):
    assert found.shape == wanted.shape, name
    error, largest = (found - wanted).abs().max().item(), wanted.abs().max().item()
    assert error <= RTOL * largest + 1e-12, f"{name}: {error:.2g} of {largest:.2g}"
