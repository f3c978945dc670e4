"""A network, a training and a regression, all as small as they can be."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from patchword.data.augment import Augment, Mixing
from patchword.data.frame import Frame
from patchword.data.source import ArraySource
from patchword.engine.average import Average
from patchword.engine.loop import Plan, fit
from patchword.engine.optimizers import Optim, optimizer
from patchword.engine.run import CLOCK, Run
from patchword.engine.state import State
from patchword.heads.classify import classifier
from patchword.models.vit import ViTConfig
from patchword.recipes.recipe import Recipe
from patchword.tasks.base import Loss, Task
from patchword.tasks.classify import Classify
from patchword.training.feed import Feed

TINY = ViTConfig(image_size=(8, 8), patch_size=4, in_chans=1, embed_dim=8, depth=2, num_heads=2)
PLAIN = Recipe(
    name="plain",
    batch_size=8,
    optim=Optim(name="sgd", lr=0.05),
    augment=Augment(crop_scale=None, hflip=0.0),
)
ALL_AT_ONCE = replace(
    PLAIN,
    accumulate=2,
    augment=Augment(crop_scale=(0.5, 1.0), erase=0.5),
    mixing=Mixing(mixup=0.8, cutmix=1.0),
    repeats=3,
    smoothing=0.1,
    drop_rate=0.2,
    drop_path_rate=0.3,
    average=0.9,
)


def pictures(count=20, classes=3):
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    names = [str(label) for label in range(classes)]
    return ArraySource(torch.from_numpy(images), np.arange(count) % classes, names, "train")


def classify(recipe=PLAIN, seed=0):
    torch.manual_seed(seed)
    config = replace(TINY, drop_rate=recipe.drop_rate, drop_path_rate=recipe.drop_path_rate)
    task = Classify(classifier(config.build(), 3))
    for parameter in task.model.head.parameters():
        nn.init.normal_(parameter, std=0.3)  # a head of zeros sends no gradient back
    return task


def fresh(recipe=PLAIN):
    """Return task, optimizer and average as they are before the first step."""
    task = classify(recipe)
    made = optimizer(recipe.optim, task, task.model.backbone.spine(), recipe.batch_size)
    return State(task, made, recipe.average and Average(task, recipe.average))


def feed(recipe=PLAIN, source=None):
    return Feed(
        source or pictures(),
        recipe,
        Frame(image_size=(8, 8), crop=1.0),
        steps=100,
        seed=0,
        workers=0,
        device=torch.device("cpu"),
    )


def plan(recipe=PLAIN, steps=8, **settings):
    return Plan(steps=steps, batch_size=recipe.batch_size, clip=recipe.optim.clip, **settings)


def opened(folder):
    folder.mkdir(exist_ok=True)
    return Run(folder)


def fitted(folder, recipe=PLAIN, **settings):
    """Train in a folder from where it got to, and return what is trained."""
    state = fresh(recipe)
    fit(state, feed(recipe), plan(recipe, **settings), opened(folder))
    return state


def without_clock(folder):
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in Run(folder).rows()]


def differing(a, b):
    """Name the tensors that are not the same, bit for bit."""
    assert a.keys() == b.keys()
    return [name for name in a if a[name].numpy().tobytes() != b[name].numpy().tobytes()]


class Regress(Task):
    """Squared error, a mean over the targets that are not missing."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def count(self, batch):
        return batch[1].isfinite().sum().float()

    def forward(self, batch, count):
        inputs, targets = batch
        known = targets.isfinite()
        loss = (self.line(inputs)[known] - targets[known]).square().sum() / count
        return Loss(loss, {"squared error": loss})

    def after_step(self, progress):
        self.seen += 1
