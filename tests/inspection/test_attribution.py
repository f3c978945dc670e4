"""Attribution against finite differences and numpy; curves and the sanity check, written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from patchword.errors import ConfigError
from patchword.heads.classify import classifier
from patchword.inspection.attribution import gradcam, predicted, relevance
from patchword.inspection.curves import blurred, deletion, insertion
from patchword.inspection.sanity import rank_correlation, sanity
from patchword.layers import Attend
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.families.resnet import TINY as RESNETS
from tests.inspection.tiny import MEAN, SWIN, VIT, images, perturbed

TINY_RESNET = next(iter(RESNETS.values()))


class Shifted(Attend):
    """Attention without a fused kernel, one of whose weights can be moved."""

    shift = None

    def forward(self, q, k, v, bias=None):
        weights = self.weights(q, k, v, bias)
        self.seen = weights.detach()
        return (weights if self.shift is None else weights + self.shift) @ v


def by_differences(model, batch, targets, step=1e-4):
    """Return weights and gradients of weights of each layer, by moving one weight at a time."""
    parts = [block.attn for block in model.backbone.blocks]
    for part in parts:
        part.attend = Shifted()
    rows, score = torch.arange(len(batch)), lambda: model(batch)[torch.arange(len(batch)), targets]
    score()
    weights, found = [part.attend.seen for part in parts], []
    for part, seen in zip(parts, weights, strict=True):
        slopes = torch.zeros_like(seen)
        for index in np.ndindex(*seen.shape[1:]):
            both = []
            for sign in (1, -1):
                part.attend.shift = torch.zeros_like(seen)
                part.attend.shift[(slice(None), *index)] = sign * step
                both.append(score())
            slopes[(rows, *(torch.tensor(i) for i in index))] = (both[0] - both[1]) / (2 * step)
        part.attend.shift = None
        found.append(slopes)
    return weights, found


@pytest.mark.parametrize("config", [VIT, MEAN], ids=["class token", "mean"])
@torch.no_grad()
def test_relevance_is_of_gradients_by_finite_differences(config):
    model = perturbed(replace(config, depth=2, num_heads=2), 3).double()
    batch, targets = images(config).double(), torch.tensor([2, 0])
    found = relevance(model, batch, targets)
    weights, slopes = by_differences(model, batch, targets)
    cells, prefix = 6, len(config.prefix)
    product = np.eye(cells + prefix)[None].repeat(2, 0)
    for seen, slope in zip(weights, slopes, strict=True):
        positive = (seen * slope).clamp(min=0).mean(1).numpy()
        asked = positive.shape[1]  # the last layer is asked by the class token alone
        product[:, :asked] = product[:, :asked] + positive @ product
    rows = product[:, :1] if prefix else product
    expected = rows.mean(1)[:, prefix:].reshape(2, 2, 3)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-9)
    assert expected.std() > 1e-6


@pytest.mark.parametrize("name", ["vit", "swin", "resnet"])
@torch.no_grad()
def test_gradcam_is_of_gradients_by_finite_differences(name):
    configs = {"vit": VIT, "swin": SWIN, "resnet": next(iter(TINY["resnet"].values()))}
    torch.manual_seed(0)
    backbone = made(configs[name])
    model = classifier(backbone, 3).eval().double()
    model.head["label"].weight.normal_()
    batch, level = images(configs[name]).double(), backbone.levels[-3 if name == "vit" else -2].name
    targets = torch.tensor([2, 0])
    found = gradcam(model, batch, targets, level)
    where = {"vit": "blocks.1", "swin": "stages.1"}.get(name, level)
    part, held = backbone.get_submodule(where), {}

    def move(_, inputs, output):
        tokens = output[0] if isinstance(output, tuple) else output
        if held:
            tokens = tokens + held["shift"]
        return (tokens, *output[1:]) if isinstance(output, tuple) else tokens

    part.register_forward_hook(move)
    tap = backbone(batch, taps=(level,)).taps[0]
    prefix, channels = tap.prefix.shape[1], tap.map.shape[1]
    expected, maps = 0, tap.map
    for channel in range(channels):
        both = []
        for sign in (1, -1):
            if tap.source.ndim == 3:
                held["shift"] = torch.zeros(tap.source.shape[1:]).double()
                held["shift"][prefix:, channel] = sign * 1e-5
            else:
                held["shift"] = torch.zeros(channels, 1, 1).double()
                held["shift"][channel] = sign * 1e-5
            both.append(model(batch)[torch.arange(2), targets])
        weight = (both[0] - both[1]) / 2e-5 / maps[0, 0].numel()
        expected = expected + weight[:, None, None] * maps[:, channel]
    torch.testing.assert_close(found, expected.clamp(min=0), rtol=1e-5, atol=1e-8)
    assert found.max() > 0


@pytest.mark.parametrize("name", TINY)
def test_every_family_has_a_gradcam_and_relevance_where_it_attends(name):
    config = next(iter(TINY[name].values()))
    torch.manual_seed(0)
    model = classifier(made(config), 4).eval()
    for part in model.head.values():
        torch.nn.init.normal_(part.weight)
    batch = contract_images(config)
    before = model(batch)
    if model.backbone.level("final").stride is None:
        assert relevance(model, batch) is None
        if all(level.stride is None for level in model.backbone.levels):
            with pytest.raises(ConfigError, match="lie on a line"):
                gradcam(model, batch)
            return
    cam = gradcam(model, batch)
    assert cam.ndim == 3 and cam.isfinite().all() and cam.min() >= 0
    found = relevance(model, batch)
    assert found is None or (found.isfinite().all() and found.min() >= 0 and found.max() > 0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model(batch), before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_level_that_the_answer_does_not_depend_on_is_refused():
    model, batch = perturbed(VIT, 3), images(VIT)
    with pytest.raises(ConfigError, match=r"depends on no cells of level 'blocks\.2'"):
        gradcam(model, batch, level="blocks.2")
    assert torch.equal(gradcam(model, batch), gradcam(model, batch, level="blocks.1"))
    best = predicted(model, batch)
    assert torch.equal(gradcam(model, batch), gradcam(model, batch, best))
    assert torch.equal(relevance(model, batch), relevance(model, batch, best))


def slow_curve(model, start, end, order, target, steps):
    """Change one image cell by cell, and return the probabilities."""
    rows, columns = 2, 3
    found = []
    for step in range(steps + 1):
        now = start.clone()
        for cell in order[: round(step / steps * rows * columns)]:
            down, across = divmod(int(cell), columns)
            at = (slice(None), slice(4 * down, 4 * down + 4), slice(4 * across, 4 * across + 4))
            now[at] = end[at]
        found.append(model(now[None]).softmax(1)[0, target].item())
    return np.array(found)


@torch.no_grad()
def test_curves_change_the_most_important_cells_first():
    model, batch = perturbed(VIT, 5), images(VIT)
    importance, targets = torch.rand(2, 2, 3), torch.tensor([1, 4])
    ends = {deletion: (batch, 0 * batch), insertion: (blurred(batch), batch)}
    for curve, (start, end) in ends.items():
        found = curve(model, batch, importance, targets, steps=3)
        np.testing.assert_allclose(found.share.numpy(), [0, 1 / 3, 2 / 3, 1], rtol=1e-6)
        for i in range(2):
            order = np.argsort(-importance[i].flatten().numpy())
            expected = slow_curve(model, start[i], end[i], order, targets[i], 3)
            np.testing.assert_allclose(found.probability[i].numpy(), expected, rtol=1e-4)
            area = (expected[1:] + expected[:-1]).mean() / 2
            assert found.area[i].item() == pytest.approx(area, rel=1e-4)
    best = predicted(model, batch)
    for curve in ends:
        own, named = curve(model, batch, importance), curve(model, batch, importance, best)
        assert torch.equal(own.probability, named.probability)


def test_an_image_is_blurred_by_a_gaussian():
    image = torch.zeros(1, 1, 224, 224)
    image[0, 0, 100, 120] = 1
    axis = np.exp(-(np.arange(-5, 6) ** 2) / 50)
    expected = np.outer(axis, axis) / axis.sum() ** 2
    np.testing.assert_allclose(blurred(image)[0, 0, 95:106, 115:126].numpy(), expected, rtol=1e-4)
    assert blurred(image).sum().item() == pytest.approx(1, rel=1e-4)


def test_ranks_correlate_as_scipys_do():
    generator = torch.Generator().manual_seed(0)
    one = torch.randint(0, 5, (3, 12), generator=generator).float()
    other = torch.rand(3, 12, generator=generator)
    expected = [spearmanr(a, b).statistic for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    np.testing.assert_allclose(rank_correlation(one, other).numpy(), expected, rtol=1e-5)
    assert rank_correlation(torch.ones(1, 4), other[:1, :4]).item() == 0


def test_the_sanity_check_randomises_from_the_head_down_and_leaves_the_model_alone():
    model, batch = perturbed(VIT, 5), images(VIT, 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = sanity(model, batch, gradcam)
    assert found.parts == ("head", "spine.4", "spine.3", "spine.2", "spine.1", "spine.0")
    assert found.correlation.shape == (4, 6) and found.correlation.abs().max() <= 1 + 1e-6
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    again = sanity(model, batch, gradcam)
    assert torch.equal(found.correlation, again.correlation)

    def edges(model, images, targets):
        return F.avg_pool2d(images.abs().mean(1, keepdim=True), 4)[:, 0]

    blind = sanity(model, batch, edges)
    torch.testing.assert_close(blind.correlation, torch.ones(4, 6))
    assert found.correlation[:, -1].mean() < 0.9


@pytest.mark.peers
def test_gradcam_of_a_convnet_is_captums():
    captum = pytest.importorskip("captum.attr")
    model = perturbed(TINY_RESNET, 4).double()
    batch, targets = images(TINY_RESNET).double(), torch.tensor([2, 0])
    for number, stage in enumerate(model.backbone.stages):
        judge = captum.LayerGradCam(model, stage)
        wanted = judge.attribute(batch, target=targets, relu_attributions=True)[:, 0]
        assert wanted.any()
        found = gradcam(model, batch, targets, f"stages.{number}")
        torch.testing.assert_close(found, wanted.detach(), rtol=1e-9, atol=1e-12)
