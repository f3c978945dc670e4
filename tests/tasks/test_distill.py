"""Distillation: its losses are the paper's formulas and the authors' numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from patchword.engine.loop import gradient
from patchword.engine.state import State
from patchword.errors import ConfigError
from patchword.heads.classify import Classifier, classifier
from patchword.tasks.distill import HARD, SOFT, Distill, Distillation, Taught
from tests.engine.small import PLAIN, TINY, plan
from tests.parity.golden import Golden

TOKEN = replace(TINY, prefix=("class", "distillation"))


class Says(Classifier):
    """A network that says what it is told to, whatever it sees."""

    def __init__(self, **heads):
        nn.Module.__init__(self)
        self.said = nn.ParameterDict(heads)

    def heads(self, images):
        return dict(self.said.items())


def logits(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=draw)


def taught(answers, targets, weights=None):
    ones = torch.ones(len(targets), dtype=targets.dtype)
    return Taught(torch.zeros(len(targets), 1, 8, 8), targets, weights or ones, answers)


def loss(how, answers, targets, **heads):
    batch = taught(answers, targets)
    task = Distill(Says(**heads), how)
    return task, task(batch, task.count(batch)).total


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(("weight", "tau"), [(0.1, 3.0), (0.5, 1.0), (0.9, 0.5)])
def test_soft_is_equation_2(token, weight, tau):
    zs, zd, zt, y = (logits(7, 5, seed=seed) for seed in range(4))
    y = y.softmax(dim=1)
    heads = {"label": zs, "distillation": zd} if token else {"label": zs}
    _, found = loss(replace(SOFT, weight=weight, temperature=tau), zt, y, **heads)
    zs, zd, zt, y = (z.numpy() for z in (zs, zd if token else zs, zt, y))
    ps, pd, pt = softmax(zs), softmax(zd / tau), softmax(zt / tau)
    entropy = -(y * np.log(ps)).sum(1).mean()
    divergence = (pt * (np.log(pt) - np.log(pd))).sum(1).mean()
    expected = (1 - weight) * entropy + weight * tau**2 * divergence
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("token", [False, True])
def test_hard_is_equation_3(token):
    zs, zd, zt, y = (logits(7, 5, seed=seed) for seed in range(4))
    y, said = y.softmax(dim=1), zt.argmax(dim=1)
    heads = {"label": zs, "distillation": zd} if token else {"label": zs}
    _, found = loss(HARD, said, y, **heads)
    zs, zd, y = (z.numpy() for z in (zs, zd if token else zs, y))
    entropy = -(y * np.log(softmax(zs))).sum(1).mean()
    teacher = -np.log(softmax(zd))[np.arange(7), said.numpy()].mean()
    assert found.item() == pytest.approx(entropy / 2 + teacher / 2, rel=1e-12)


def test_the_gradient_of_the_soft_term_is_the_difference_of_the_probabilities():
    """Times tau: one of its squares is divided away by the chain rule. At equality it is none."""
    zs, zt, tau = logits(4, 6), logits(4, 6, seed=1), 3.0
    how = replace(SOFT, weight=1.0, temperature=tau)
    task, found = loss(how, zt, zs.softmax(dim=1), label=zs)
    found.backward()
    expected = tau * ((zs / tau).softmax(1) - (zt / tau).softmax(1)) / 4
    torch.testing.assert_close(task.model.said["label"].grad, expected, rtol=1e-10, atol=1e-12)
    assert loss(how, zs, zs.softmax(dim=1), label=zs)[1].item() == pytest.approx(0, abs=1e-12)


def test_with_a_token_each_head_learns_from_its_own_teacher():
    y = logits(4, 3).softmax(dim=1)
    heads = {"label": logits(4, 3, seed=1), "distillation": logits(4, 3, seed=2)}
    task, found = loss(replace(HARD, weight=1.0), torch.tensor([0, 1, 2, 0]), y, **heads)
    found.backward()
    assert task.model.said["label"].grad.abs().max() == 0
    assert task.model.said["distillation"].grad.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("soft_alpha0.5_tau1.0", replace(SOFT, weight=0.5, temperature=1.0, divide_by="elements")),
        ("soft_alpha0.9_tau3.0", replace(SOFT, weight=0.9, divide_by="elements")),
        ("hard_alpha0.5_tau1.0", HARD),
    ],
)
@pytest.mark.parametrize("base", ["soft_target", "label_smooth"])
def test_it_is_the_authors_loss(shared, name, how, base):
    held = Golden(shared / "goldens" / "dense_ssl_orig", "loss_deit_distill_a").held
    teacher = held["in.teacher_logits"]
    targets = held["in.soft_target"]
    if base == "label_smooth":
        targets = torch.eye(10)[held["in.hard_target"]] * 0.9 + 0.01
    answers = teacher.argmax(dim=1) if how.kind == "hard" else teacher
    heads = {"label": held["in.cls_logits"], "distillation": held["in.dist_logits"]}
    found = loss(how, answers, targets, **heads)[1].detach()
    torch.testing.assert_close(found, held[f"loss.{name}.{base}"], rtol=1e-6, atol=1e-6)


def test_the_papers_mean_is_over_pictures_the_codes_over_their_scores_too():
    zs, zt = logits(4, 6), logits(4, 6, seed=1)
    how, y = replace(SOFT, weight=1.0), zs.softmax(dim=1)
    whole = loss(how, zt, y, label=zs)[1]
    torch.testing.assert_close(
        loss(replace(how, divide_by="elements"), zt, y, label=zs)[1] * 6, whole
    )


@pytest.mark.parametrize("how", [HARD, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("slices", [2, 3])
def test_slices_have_the_gradient_of_the_whole_batch(how, slices):
    torch.manual_seed(0)
    task = Distill(classifier(TOKEN.build(), 3).double(), how)
    nn.init.normal_(task.model.head["distillation"].weight)
    answers = logits(12, 3).argmax(dim=1) if how.kind == "hard" else logits(12, 3)
    batch = Taught(
        logits(12, 1 * 64, seed=5).view(12, 1, 8, 8),
        logits(12, 3, seed=6).softmax(dim=1),
        (torch.arange(12) >= 5).double(),  # the first could not be read
        answers,
    )
    recipe = replace(PLAIN, batch_size=12)
    state = State(task, torch.optim.SGD(task.parameters()))
    found = []
    for count in (1, slices):
        parts = [Taught(*part) for part in zip(*(t.chunk(count) for t in batch), strict=True)]
        gradient(state, parts, plan(recipe))
        found.append(torch.cat([p.grad.flatten() for p in task.parameters()]))
    assert found[0].abs().max() > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("how", [HARD, SOFT], ids=["hard", "soft"])
def test_it_learns_eight_pictures_from_the_teacher_and_from_their_labels(how):
    """Each head what it is taught, where labels and teacher disagree."""
    torch.manual_seed(0)
    task = Distill(classifier(TOKEN.build(), 3), replace(how, weight=0.5))
    labels, said = torch.arange(8) % 3, (torch.arange(8) + 1) % 3
    answers = said if how.kind == "hard" else 8 * torch.eye(3)[said]
    batch = Taught(torch.randn(8, 1, 8, 8), torch.eye(3)[labels], torch.ones(8), answers)
    optimizer = torch.optim.Adam(task.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        task(batch, task.count(batch)).total.backward()
        optimizer.step()
    heads = task.model.heads(batch.images)
    assert torch.equal(heads["label"].argmax(dim=1), labels)
    assert torch.equal(heads["distillation"].argmax(dim=1), said)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 1.5},
        {"temperature": 0.0},
        {"replay": 0},
        {"kind": "soft", "top": 0},
        {"kind": "hard", "top": 5},
        {"kind": "hard", "temperature": 3.0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        Distillation(**wrong)
