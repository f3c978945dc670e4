"""Attribution beside finite differences, and beside captum's; each yields ours, and what it is."""

from dataclasses import replace

import numpy as np
import torch

from patchword.heads.classify import classifier
from patchword.inspection.attribution import gradcam, relevance
from patchword.layers import Attend
from tests.contract.tiny import TINY, made
from tests.inspection.tiny import MEAN, SWIN, VIT, images, perturbed

RESNET = next(iter(TINY["resnet"].values()))
TARGETS = torch.tensor([2, 0])


class Shifted(Attend):
    """Attention without a fused kernel, one of whose weights can be moved."""

    shift = None

    def forward(self, q, k, v, bias=None):
        weights = self.weights(q, k, v, bias)
        self.seen = weights.detach()
        return (weights if self.shift is None else weights + self.shift) @ v


def by_differences(model, batch, step=1e-4):
    """Return weights and gradients of weights of each layer, by moving one weight at a time."""
    parts = [block.attn for block in model.backbone.blocks]
    for part in parts:
        part.attend = Shifted()
    rows, score = torch.arange(len(batch)), lambda: model(batch)[torch.arange(len(batch)), TARGETS]
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


@torch.no_grad()
def relevance_of(config):
    model = perturbed(replace(config, depth=2, num_heads=2), 3).double()
    batch = images(config).double()
    found = relevance(model, batch, TARGETS)
    weights, slopes = by_differences(model, batch)
    cells, prefix = 6, len(config.prefix)
    product = np.eye(cells + prefix)[None].repeat(2, 0)
    for seen, slope in zip(weights, slopes, strict=True):
        positive = (seen * slope).clamp(min=0).mean(1).numpy()
        asked = positive.shape[1]  # the last layer is asked by the class token alone
        product[:, :asked] = product[:, :asked] + positive @ product
    rows = product[:, :1] if prefix else product - np.eye(cells)
    yield found, rows.mean(1)[:, prefix:].reshape(2, 2, 3)


@torch.no_grad()
def gradcam_of(name):
    """Channels weighed by how the score moves with all of their cells."""
    config = {"vit": VIT, "swin": SWIN, "resnet": RESNET}[name]
    torch.manual_seed(0)
    backbone = made(config)
    model = classifier(backbone, 3).eval().double()
    model.head["label"].weight.normal_()
    batch, level = images(config).double(), backbone.levels[-3 if name == "vit" else -2].name
    found = gradcam(model, batch, TARGETS, level)
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
            both.append(model(batch)[torch.arange(2), TARGETS])
        weight = (both[0] - both[1]) / 2e-5 / maps[0, 0].numel()
        expected = expected + weight[:, None, None] * maps[:, channel]
    yield found, expected.clamp(min=0)


def gradcam_of_captum():
    """Of every stage of a convnet: captum weighs maps, no tokens."""
    from captum.attr import LayerGradCam

    model = perturbed(RESNET, 4).double()
    batch = images(RESNET).double()
    for number, stage in enumerate(model.backbone.stages):
        judge = LayerGradCam(model, stage)
        wanted = judge.attribute(batch, target=TARGETS, relu_attributions=True)[:, 0]
        yield gradcam(model, batch, TARGETS, f"stages.{number}"), wanted.detach()


KINDS = {"class token": VIT, "mean": MEAN}
