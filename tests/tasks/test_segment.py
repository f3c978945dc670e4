"""Segmentation's loss is mmsegmentation's, over the pixels that have a class; and it is learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from patchword.engine.loop import Plan, fit, gradient
from patchword.engine.optimizers import Optim, optimizer
from patchword.engine.run import Run
from patchword.engine.state import State
from patchword.errors import ConfigError
from patchword.heads.dense import Dense
from patchword.heads.segformer import SegFormerConfig
from patchword.heads.setr import SETRConfig
from patchword.models.pvtv2 import PVTv2Config
from patchword.models.vit import ViTConfig
from patchword.tasks.segment import IGNORED, HardPixels, Masked, Segment, Segmentation

PLAIN = ViTConfig(image_size=(16, 16), patch_size=4, embed_dim=24, depth=2, num_heads=2)


class Says(Dense):
    """A network that says what it is told to, whatever it sees."""

    def __init__(self, **heads):
        nn.Module.__init__(self)
        self.card, self.said = None, nn.ParameterDict(heads)

    def heads(self, images):
        return {name.replace("_", "."): scores for name, scores in self.said.items()}


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=generator)


def masked(classes=4, weights=(1.0, 1.0, 1.0), shape=(3, 6, 5)):
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(0, classes, shape, generator=generator)
    targets[torch.rand(shape, generator=generator) < 0.3] = IGNORED
    images = torch.zeros(len(targets), 3, *shape[1:])
    return Masked(images, targets.to(torch.uint8), torch.tensor(weights, dtype=torch.float64))


def found(how, batch, **heads):
    task = Segment(Says(**heads), how)
    return task(batch, task.count(batch))


def written_out(scores, batch, class_weights=None):
    """Return the sum of all pixels' costs, one by one, and those pixels' probabilities."""
    scores, targets = scores.numpy(), batch.targets.numpy()
    total, likely = [], []
    for b, y, x in np.argwhere(targets != IGNORED):
        row, label = scores[b, :, y, x], targets[b, y, x]
        share = np.exp(row[label]) / np.exp(row).sum()
        weight = batch.weights[b].item() * (class_weights[label] if class_weights else 1)
        total.append(-weight * np.log(share))
        likely.append(share)
    return np.array(total), np.array(likely)


def test_it_is_the_mean_over_pixels_with_a_class():
    scores, batch = draw(3, 4, 6, 5), masked()
    costs, _ = written_out(scores, batch)
    loss = found(None, batch, main=scores)
    assert loss.total.item() == pytest.approx(costs.mean())
    wanted = torch.nn.functional.cross_entropy(scores, batch.targets.long(), ignore_index=IGNORED)
    torch.testing.assert_close(loss.total, wanted)


def test_published_trainings_count_all_pixels():
    scores, batch = draw(3, 4, 6, 5), masked()
    costs, _ = written_out(scores, batch)
    loss = found(Segmentation(average="all"), batch, main=scores)
    assert loss.total.item() == pytest.approx(costs.sum() / batch.targets.numel())


def test_auxiliary_heads_count_by_their_weight():
    batch = masked()
    all_scores = [draw(3, 4, 6, 5, seed=seed) for seed in range(3)]
    means = [written_out(scores, batch)[0].mean() for scores in all_scores]
    heads = dict(zip(("main", "aux_0", "aux_1"), all_scores, strict=True))
    loss = found(Segmentation(aux_weight=0.3), batch, **heads)
    assert loss.total.item() == pytest.approx(means[0] + 0.3 * (means[1] + means[2]))
    assert {name: part.item() for name, part in loss.parts.items()} == pytest.approx(
        dict(zip(("main", "aux.0", "aux.1"), means, strict=True))
    )


def test_classes_and_unreadable_pictures_have_weights():
    scores, weights = draw(3, 4, 6, 5), (0.5, 2.0, 1.0, 0.0)
    batch = masked(weights=(1.0, 0.0, 1.0))
    costs, _ = written_out(scores, batch, weights)
    read = (batch.targets[[0, 2]] != IGNORED).sum().item()
    loss = found(Segmentation(class_weights=weights), batch, main=scores)
    assert loss.total.item() == pytest.approx(costs.sum() / read)


@pytest.mark.parametrize(("threshold", "kept"), [(0.2, 1), (0.9, 1), (1e-6, 5), (1e-6, 1000)])
def test_hard_pixels_are_mmsegmentation_s(threshold, kept):
    """Those below the threshold, which rises to the probability at the kept-th place."""
    scores, batch = draw(3, 4, 6, 5), masked()
    costs, likely = written_out(scores, batch)
    place = min(kept * len(scores), len(likely) - 1)
    bound = max(np.sort(likely)[place], threshold)
    loss = found(Segmentation(hard=HardPixels(threshold=threshold, kept=kept)), batch, main=scores)
    assert loss.total.item() == pytest.approx(costs[likely < bound].sum() / len(costs))


def test_nothing_to_learn_costs_nothing():
    batch = masked()._replace(targets=torch.full((3, 6, 5), IGNORED, dtype=torch.uint8))
    for how in (Segmentation(), Segmentation(hard=HardPixels())):
        loss = found(how, batch, main=draw(3, 4, 6, 5))
        loss.total.backward()
        assert loss.total.item() == 0


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"threshold": 0.0}, {"threshold": 1.5}, {"kept": 0}):
        with pytest.raises(ConfigError):
            HardPixels(**wrong)


def two_images():
    """Return two pictures of three areas, whose colours tell the class, and a rim without one."""
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    first = (rows >= 6).long() + (columns >= 9).long() * (rows >= 6)
    targets = torch.stack([first, first.T.flip(0)])
    images = torch.eye(3)[targets].permute(0, 3, 1, 2) * 2 - 1
    targets[:, 0] = IGNORED
    return Masked(images, targets.to(torch.uint8), torch.ones(2))


@pytest.mark.parametrize("head", ["segformer", "setr"])
def test_the_one_loop_overfits_two_images(tmp_path, head):
    torch.manual_seed(0)
    if head == "segformer":
        config = PVTv2Config(
            image_size=(16, 16),
            patch_size=(3, 3),
            stride=(2, 2),
            embed_dim=(16, 32),
            depth=(1, 1),
            num_heads=(1, 2),
            mlp_ratio=(2.0, 2.0),
            sr_ratio=(2, 1),
        )
        model = SegFormerConfig(channels=16, drop_rate=0.0).assemble(config.build(), 3)
    else:
        model = SETRConfig(decoder="pup", channels=16).assemble(PLAIN.build(), 3)
    task, batch = Segment(model), two_images()
    made = optimizer(Optim(lr=5e-3, weight_decay=0.0), task, model.backbone.spine(), 2)
    steps = 60

    def feed(step):
        while True:
            yield [batch]

    fit(State(task, made), feed, Plan(steps=steps, batch_size=2, log=20), Run(tmp_path))
    known = batch.targets != IGNORED
    with torch.no_grad():
        said = model.eval()(batch.images).argmax(dim=1)
    assert (said == batch.targets)[known].float().mean() > 0.99


def test_slices_of_a_step_have_the_gradient_of_the_whole():
    """Though they have unequally many pixels with a class."""
    torch.manual_seed(0)
    model = SETRConfig(channels=8).assemble(replace(PLAIN, depth=1).build(), 3)
    task = Segment(model, Segmentation()).double()
    for part in task.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.forward = part.eval().forward
            part.train = lambda mode=True, part=part: part  # it looks across a slice
    whole = two_images()
    targets = whole.targets.clone()
    targets[1, :11] = IGNORED
    whole = Masked(whole.images.double(), targets, whole.weights.double())
    state = State(task, torch.optim.SGD(task.parameters()))
    slopes = []
    for count in (1, 2):
        parts = [Masked(*part) for part in zip(*(t.chunk(count) for t in whole), strict=True)]
        gradient(state, parts, Plan(steps=1, batch_size=2))
        slopes.append(
            torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
        )
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-9, atol=1e-12)
