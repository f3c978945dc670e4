"""What is made from `spine()`: every parameter once, rates by depth, checkpointing from outside."""

from dataclasses import replace

import torch
from torch.utils.checkpoint import checkpoint

from patchword.layers import depth_masks, dropping
from tests.contract.tiny import images, made


def test_every_parameter_is_in_one_part_in_order(config, backbone):
    found = [parameter for part in backbone.spine() for parameter in part.parameters()]
    assert [*map(id, found)] == [*map(id, backbone.parameters())]
    assert [*backbone.spine()][1:-1] == [*backbone.blocks]


def test_rates_by_depth_reach_every_parameter(config, backbone):
    """Layer-wise rates: each part's is half that of the next one."""
    parts = backbone.spine()
    rates = [0.5 ** (len(parts) - 1 - depth) for depth in range(len(parts))]
    groups = [{"params": [*p.parameters()], "lr": r} for p, r in zip(parts, rates, strict=True)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    backbone(images(config)).pooled.square().sum().backward()
    wanted = [
        parameter.detach() - rate * parameter.grad
        for part, rate in zip(parts, rates, strict=True)
        for parameter in part.parameters()
    ]
    optimizer.step()
    assert all(map(torch.equal, map(torch.detach, backbone.parameters()), wanted))


def test_checkpointing_from_outside_changes_no_gradient(config, backbone):
    batch = images(config)

    def slopes():
        backbone.zero_grad()
        backbone(batch).pooled.square().sum().backward()
        return {name: parameter.grad for name, parameter in backbone.named_parameters()}

    straight, runs = slopes(), []
    for part in backbone.spine()[1:-1]:
        forward = part.forward
        part.register_forward_hook(lambda *_: runs.append(1))

        def spared(*inputs, forward=forward):
            return checkpoint(forward, *inputs, use_reentrant=False)

        part.forward = spared
    found = slopes()
    assert len(runs) == len(backbone.blocks)
    assert all(torch.equal(found[name], straight[name]) for name in straight)


def test_stochastic_depth_follows_its_masks(config):
    backbone = made(replace(config, drop_path_rate=0.5)).train()
    for part in backbone.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eval()  # it would look across images
    parts = dropping(backbone)
    assert [part.rate for part in parts] == [r for i in range(1, 5) for r in [0.125 * i] * 2]
    kept = torch.rand(len(parts), 4, generator=torch.Generator().manual_seed(0)) > 0.5
    batch = images(config, 4)
    with depth_masks(parts, kept):
        found = backbone(batch).pooled
        again = backbone(batch).pooled
    assert torch.equal(found, again) and all(part.kept is None for part in parts)
    for i in range(4):
        torch.testing.assert_close(found[i], by_hand(backbone, batch[i : i + 1], kept[:, i])[0])


def by_hand(backbone, image, kept):
    """Leave branches out one by one, without a mask."""
    x, grid = backbone.stem(image)
    switches = iter([True, True, *kept.tolist()])  # the first block drops nothing
    for block in backbone.blocks:
        rate = block.drop_path1.rate
        if next(switches):
            x = x + block.ls1(block.attn(block.norm1(x), grid)) / (1 - rate)
        if next(switches):
            x = x + block.ls2(block.mlp(block.norm2(x))) / (1 - rate)
    x = backbone.norm(x)
    read, prefix = len(backbone.readouts), backbone.stem.count
    tokens = backbone.config.pool == "token"
    return backbone.fc_norm(x[:, :read].flatten(1) if tokens else x[:, prefix:].mean(dim=1))
