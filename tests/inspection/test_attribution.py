"""Attribution of every family; curves and the sanity check, written out.

checks.py holds attribution against finite differences and captum.
"""

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
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.inspection.tiny import VIT, images, perturbed


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
