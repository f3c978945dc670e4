"""A model and pictures to judge it by, as small as they can be; and features as themselves."""

import numpy as np
import torch

from patchword.data.frame import Frame
from patchword.data.source import ArraySource
from patchword.evaluation.answers import Answers
from patchword.evaluation.protocol import Judged, Subject
from patchword.heads.classify import classifier
from patchword.models.vit import ViTConfig
from patchword.predictor import Card

CONFIG = ViTConfig(image_size=(8, 8), patch_size=4, in_chans=1, embed_dim=8, depth=4, num_heads=2)
NAMES = ("cat", "dog", "hen")


def pictures(count, seed=0, names=NAMES):
    """Return pictures whose brightness says a little of their class."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % len(names)
    images = draw.integers(0, 160, (count, 1, 8, 8)) + 40 * labels[:, None, None, None]
    return ArraySource(torch.from_numpy(images.clip(0, 255).astype(np.uint8)), labels, names, "x")


def judged(train=60, test=30):
    return Judged(name="blobs", train=pictures(train), test=pictures(test, seed=1), split="test")


def subject(config=CONFIG, classes=NAMES):
    torch.manual_seed(0)
    model = classifier(config.build(), len(classes))
    for head in model.head.values():
        torch.nn.init.normal_(head.weight)
    card = Card(
        model="vit_mini_patch4_32",
        config={},
        num_classes=len(classes),
        classes=classes,
        preprocessing=Frame(image_size=(8, 8), crop=1.0),
    )
    return Subject(model, card)


def features(count, width=12, classes=5, seed=0, spread=1.5):
    """Return rows that scatter about a centre for each class, in double precision."""
    draw = np.random.default_rng(0)
    centres = spread * draw.normal(size=(classes, width))
    labels = np.arange(count) % classes
    rows = centres[labels] + np.random.default_rng(seed).normal(size=(count, width))
    return torch.from_numpy(rows), torch.from_numpy(labels)


class Given(Subject):
    """A subject whose features are given, by how many pictures a source has."""

    def __init__(self, *found):
        self.found = {len(labels): (rows, labels) for rows, labels in found}

    def features(self, source, tokens):
        rows, labels = self.found[len(source)]
        return Answers(rows, labels, torch.arange(len(labels)), ())
