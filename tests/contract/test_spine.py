"""What is made from `spine()`: every parameter once, rates by depth, checkpointing from outside."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from patchword.layers import depth_masks, dropping
from tests.contract.tiny import images, made


def test_every_parameter_is_in_one_part(config, backbone):
    parts = backbone.spine()
    found = [parameter for part in parts for parameter in part.parameters()]
    assert len({*map(id, found)}) == len(found)
    assert {*map(id, found)} == {*map(id, backbone.parameters())}
    assert len(parts) >= 4  # a stem, blocks, and the last norm


def test_rates_by_depth_reach_every_parameter(config, backbone):
    """Layer-wise rates: each part's is half that of the next one."""
    parts = backbone.spine()
    rates = [0.5 ** (len(parts) - 1 - depth) for depth in range(len(parts))]
    groups = [{"params": [*p.parameters()], "lr": r} for p, r in zip(parts, rates, strict=True)]
    optimizer = torch.optim.SGD([group for group in groups if group["params"]], lr=1.0)
    backbone(images(config)).pooled.square().sum().backward()
    wanted = [
        parameter.detach() - (0 if parameter.grad is None else rate * parameter.grad)
        for part, rate in zip(parts, rates, strict=True)
        for parameter in part.parameters()
    ]
    optimizer.step()
    found = [parameter.detach() for part in parts for parameter in part.parameters()]
    assert all(map(torch.equal, found, wanted))


def test_checkpointing_from_outside_changes_no_gradient(config, backbone):
    batch = images(config)

    def slopes():
        backbone.zero_grad()
        backbone(batch).pooled.square().sum().backward()
        return {name: parameter.grad for name, parameter in backbone.named_parameters()}

    straight, runs = slopes(), []
    for place, part in enumerate(backbone.spine()[1:-1]):
        forward = part.forward
        part.register_forward_hook(lambda *_, place=place: runs.append(place))

        def spared(*inputs, forward=forward):
            return checkpoint(forward, *inputs, use_reentrant=False)

        part.forward = spared
    found = slopes()
    assert runs == [*range(len(backbone.spine()) - 2)]  # each is called once, in order
    for name, wanted in straight.items():
        assert wanted is found[name] is None or torch.equal(found[name], wanted), name


def test_stochastic_depth_follows_its_masks(config):
    if "drop_path_rate" not in {field.name for field in fields(config)}:
        assert not dropping(made(config))
        return
    backbone = made(replace(config, drop_path_rate=0.5)).train()
    for part in backbone.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()  # it would look across images
    parts = dropping(backbone)
    assert parts and all(0 < part.rate <= 0.5 for part in parts)
    kept = torch.rand(len(parts), 4, generator=torch.Generator().manual_seed(0)) > 0.5
    batch = images(config, 4)
    with depth_masks(parts, kept):
        found = backbone(batch).pooled
        again = backbone(batch).pooled
    assert torch.equal(found, again) and all(part.kept is None for part in parts)
    for i in range(4):
        with depth_masks(parts, kept[:, i : i + 1]):
            alone = backbone(batch[i : i + 1]).pooled
        torch.testing.assert_close(found[i], alone[0], rtol=1e-4, atol=1e-5)
    with depth_masks(parts, torch.ones_like(kept)):
        scaled = backbone(batch).pooled
    assert not torch.allclose(scaled, found)


def test_a_dropped_branch_adds_nothing_and_a_kept_one_is_scaled():
    """One layer by hand, as the networks only put it into place."""
    from patchword.layers import StochasticDepth

    layer, x = StochasticDepth(0.2).train(), torch.randn(3, 5)
    with depth_masks([layer], torch.tensor([[True, False, True]])):
        found = layer(x)
    torch.testing.assert_close(found, x / 0.8 * torch.tensor([1.0, 0.0, 1.0])[:, None])
    with (
        pytest.raises(ValueError, match="shorter"),
        depth_masks([layer], kept=torch.ones(0, 3) > 0),
    ):
        pass
