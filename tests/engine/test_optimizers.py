"""Which parameters decay, and at what share of the rate they learn."""

import copy

import pytest
import torch

from patchword.engine.loop import Plan, step
from patchword.engine.optimizers import Optim, freeze, groups, optimizer
from patchword.engine.state import State
from patchword.factory import create_model
from patchword.tasks.classify import Classify, Labelled
from tests.engine.small import ALL_AT_ONCE, classify, feed, plan

DECAY, LAYER = 0.3, 0.5


def sorted_parameters(task, weight_decay=DECAY, layer_decay=LAYER):
    """Return each parameter's name and (decay, share, whether Muon takes it)."""
    names = {id(parameter): name for name, parameter in task.named_parameters()}
    spine = task.model.backbone.spine()
    return {
        names[id(parameter)]: (group["weight_decay"], group["share"], group["matrices"])
        for group in groups(task, spine, weight_decay, layer_decay)
        for parameter in group["params"]
    }


def test_only_weights_of_linear_layers_and_convolutions_decay():
    task = classify()
    found = sorted_parameters(task)
    assert found.keys() == dict(task.named_parameters()).keys()
    decaying = {name.removeprefix("model.") for name, (decay, _, _) in found.items() if decay}
    inside = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert decaying == {
        "backbone.stem.patch_embed.proj.weight",
        *(f"backbone.blocks.{i}.{part}.weight" for i in (0, 1) for part in inside),
        "head.label.weight",
    }
    assert {decay for decay, _, _ in found.values()} == {0.0, DECAY}


def test_each_part_learns_at_a_share_of_the_next():
    """Stem, two blocks, last norm; the head stands behind them."""
    shares = {"stem.": 0.125, "blocks.0.": 0.25, "blocks.1.": 0.5, "norm.": 1.0, "head.": 1.0}
    for name, (_, share, _) in sorted_parameters(classify()).items():
        part = name.removeprefix("model.").removeprefix("backbone.")
        assert share == next(value for start, value in shares.items() if part.startswith(start))
    assert {share for _, share, _ in sorted_parameters(classify(), layer_decay=1.0).values()} == {1}


def test_the_head_learns_at_a_rate_of_its_own():
    task = classify()
    made = optimizer(Optim(lr=0.1, head_lr=10.0), task, task.model.backbone.spine(), 4)
    head = {id(parameter) for parameter in task.model.head.parameters()}
    for group in made.param_groups:
        inside = {id(parameter) in head for parameter in group["params"]}
        assert inside == {group["peak"] == pytest.approx(1.0)}


def test_muon_takes_the_matrices_inside_the_blocks():
    found = sorted_parameters(classify())
    matrices = {name for name, (_, _, hidden) in found.items() if hidden}
    assert len(matrices) == 8
    assert all(".blocks." in name and name.endswith("weight") for name in matrices)


def test_what_is_frozen_is_left_out():
    task = classify()
    task.model.backbone.stem.requires_grad_(False)
    assert not any(".stem." in name for name in sorted_parameters(task))


@pytest.mark.parametrize(("share", "names"), [(0.5, ("stem.", "blocks.0.")), (1.0, ("",))])
def test_a_frozen_part_is_the_same_after_a_step_and_computes_as_in_evaluation(share, names):
    task = classify(ALL_AT_ONCE)
    backbone = task.model.backbone
    frozen = freeze(backbone.spine(), share)
    made = optimizer(Optim(lr=0.1), task, backbone.spine(), 8)
    state = State(task, made, None, frozen)
    before = copy.deepcopy(task.state_dict())
    step(state, next(feed(ALL_AT_ONCE)(0)), plan(ALL_AT_ONCE))
    for name, tensor in task.state_dict().items():
        place = name.removeprefix("model.backbone.")
        still = name.startswith("model.backbone.") and place.startswith(names)
        assert torch.equal(tensor, before[name]) == still, name
    assert {part.training for part in frozen} == {False} and task.model.head.training
    stochastic = [m for part in frozen for m in part.modules() if isinstance(m, torch.nn.Dropout)]
    assert stochastic and not any(module.training for module in stochastic)


def test_the_peak_rate_may_grow_with_the_batch():
    assert Optim(lr=0.0005, lr_batch=512).peak(1024) == 0.001
    assert Optim(lr=0.003).peak(4096) == 0.003
    task = classify()
    optim = Optim(lr=0.1, lr_batch=8, layer_decay=0.5)
    made = optimizer(optim, task, task.model.backbone.spine(), 16)
    assert {group["peak"] for group in made.param_groups} == {0.2, 0.1, 0.05, 0.025}


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_first_step_is_the_one_of_the_papers(name):
    """From a gradient g, at rate r and decay d: Adam moves by r g / |g|, SGD by r g."""
    task = classify()
    before = copy.deepcopy(task)
    optim = Optim(name=name, lr=0.01, weight_decay=0.1, momentum=0.9)
    made = optimizer(optim, task, task.model.backbone.spine(), 8)
    for parameter in task.parameters():
        parameter.grad = torch.full_like(parameter, -2.0)
    made.step(None)
    old, new = (t.model.head["label"].weight for t in (before, task))
    expected = {
        "adamw": old * (1 - 0.01 * 0.1) + 0.01,
        "adam": old - 0.01 * (0.1 * old - 2) / (0.1 * old - 2).abs(),
        "sgd": old - 0.01 * (0.1 * old - 2),
    }[name]
    torch.testing.assert_close(new, expected)
    torch.testing.assert_close(  # no decay
        task.model.backbone.norm.weight - before.model.backbone.norm.weight,
        torch.full((8,), 0.02 if name == "sgd" else 0.01),
    )


def test_muon_moves_hidden_matrices_by_orthogonal_steps_and_the_rest_as_adamw():
    task = classify()
    before = copy.deepcopy(task)
    optim = Optim(name="muon", lr=0.01, weight_decay=0.0, momentum=0.95)
    made = optimizer(optim, task, task.model.backbone.spine(), 8)
    draw = torch.Generator().manual_seed(0)
    for parameter in task.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)
    made.step(lambda: torch.zeros(()))
    moved = (
        task.model.backbone.blocks[1].mlp.fc1.weight
        - before.model.backbone.blocks[1].mlp.fc1.weight
    )
    singular = torch.linalg.svdvals(moved)
    assert moved.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.3)
    assert singular.max() / singular.min() < 3  # Newton and Schulz get near 1, not to it
    head = task.model.head["label"].weight - before.model.head["label"].weight
    torch.testing.assert_close(head.abs(), torch.full_like(head, 0.01), rtol=1e-3, atol=1e-6)


def test_below_the_last_norm_all_stays_statistics_and_all():
    """In a convnet that norm is the last batch norm, which learns from batches as FixRes's does."""
    torch.manual_seed(0)
    task = Classify(create_model("resnet18", num_classes=3))
    spine = task.model.backbone.spine()
    frozen = freeze(spine, "below_norm")
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    optim = Optim(name="sgd", lr=0.1, weight_decay=0.0)
    state = State(task, optimizer(optim, task, spine, 4), frozen=frozen)
    images, targets = torch.randn(4, 3, 32, 32), torch.eye(3)[[0, 1, 2, 0]]
    step(state, [Labelled(images, targets, torch.ones(4))], Plan(steps=2, batch_size=4))
    after = task.state_dict()
    changed = {name.rpartition(".")[0] for name in after if not after[name].equal(before[name])}
    assert len(changed) == 2 and "model.head.label" in changed
    (norm,) = changed - {"model.head.label"}
    assert isinstance(task.get_submodule(norm), torch.nn.BatchNorm2d)
    assert norm == [n for n, m in task.named_modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
    assert not after[f"{norm}.running_mean"].equal(before[f"{norm}.running_mean"])
