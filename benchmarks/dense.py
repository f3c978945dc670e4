"""How fast the systems of dense prediction are: ours beside the best configuration of each peer.

    python -m benchmarks.dense [--only 'detr*'] [--mode forward|step] [--compile] [--dry]
    python -m benchmarks.dense --page

As benchmarks.zoo, by the same duel, on batches of two: the peer with moved weights, ours with the
same ones, outputs compared, the fastest configuration of either side whose outputs are right
against the other's, turn by turn. The forward pass answers for every pixel, or with scores and
boxes of every query. A step is that of a training: with matching and the losses of all layers where
there are objects, with the cross-entropy of every pixel, and of the auxiliary head, where there are
classes; of depths, for which the peer has no loss, it learns squares. Dropout and stochastic depth
are off on either side, and detectors keep the stem, the first stage and all batch norms of the
backbone as they are, as their authors do. Rows gather in benchmarks/dense.json, from which --page
draws docs/speed-dense.md.
"""

from dataclasses import fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from benchmarks import sampling
from benchmarks.duel import COLUMNS, ROUNDS, asked, kept, line, means, raced, run
from benchmarks.zoo import measured
from patchword import heads, models
from patchword.heads.dense import resized
from patchword.heads.dpt import DPTDepthConfig
from patchword.tasks.detect import Boxed, Detect
from patchword.tasks.segment import Masked, Segment
from tests.heads import packaged, sets
from tests.heads.made import filled
from tests.heads.peer import steady
from tests.heads.whole import makers, pair
from tests.parity.peer import perturbed, varied

KEPT = Path(__file__).with_name("dense.json")
PAGE = Path(__file__).parents[1] / "docs" / "speed-dense.md"
SMALL = {"image_size": (256, 256)}
MODELS = {
    "deformable_detr_resnet50": SMALL,
    "deformable_detr_single_scale_resnet50": SMALL,
    "deformable_detr_two_stage_resnet50": SMALL,
    "detr_panoptic_resnet50": SMALL,
    "detr_resnet50": SMALL,
    "detr_resnet50_dc5": SMALL,
    "dpt_base": SMALL,
    "dpt_base_segmentation": SMALL,
    "dpt_hybrid": SMALL,
    "segformer_b0": SMALL,
    "segformer_b2": SMALL,
    "upernet": {"backbone": "resnet50", **SMALL},
    "upernet_beit_base_patch16": SMALL,
    "upernet_swin_tiny": {"image_size": (224, 224)},
}
OBJECTS = 7  # in a picture, as many as in one of COCO's
RATES = ("dropout", "attention_dropout", "activation_dropout")  # transformers' own, in no module
FROZEN = ("embedder.", "encoder.stages.0.", "conv1.", "bn1.", "layer1.")  # theirs, and timm's
HEAD = """\
# Speed of dense prediction

Seconds of a packaged peer over ours, made by `python -m benchmarks.dense`: above 1, ours is faster.
Same weights, outputs compared, {rounds} rounds turn by turn; each side in the fastest of its
configurations whose outputs are right (named: ours, theirs). "Same" is the peer against itself; a
row is slower where its whole range lies below that of "same". Steps are of a training, with
matching and losses. {about}

Axial-DeepLab, MaX-DeepLab, Segmenter, SETR and Sparse R-CNN have no packaged peer, and the DPT of
segmentation_models_pytorch is another network: it refines the coarsest map once more.

"""
PARTS = """
## Deformable attention by itself

One reading of four maps, by every one of their cells as in the encoder or by 300 queries as in the
decoder, for images of two sizes; no part of the means above.

"""


class Detecting(nn.Module):
    """A detector as duels run it: all that it answers, and what a batch costs in training.

    Args:
        model: ours in its task, or a reference.
        batch: images and objects.
        ranked: whether queries are in an order of their scores, in which near ties fall either
            way; answers are then sorted, each figure by itself.
    """

    def __init__(self, model, batch, *, ranked):
        super().__init__()
        self.model, self.batch, self.ranked = model, batch, ranked

    def forward(self, images):
        batch = self.batch._replace(images=images)
        if isinstance(self.model, Detect):
            if self.training:
                return self.model(batch, self.model.count(batch)).total
            return self.answers(self.model.model(images))
        self.model.config.auxiliary_loss = self.training  # with it, its answers would be others
        if self.training:
            return self.model(**sets.asked(batch)).loss
        found = self.model(images)
        return self.answers((found.logits, found.pred_boxes, getattr(found, "pred_masks", None)))

    def answers(self, parts):
        """Return what the queries say, side by side."""
        known = [part for part in parts if part is not None]
        if self.ranked:
            known = [part.sort(dim=1).values for part in known]
        return torch.cat([part.flatten(1) for part in known], dim=1)


class Masking(nn.Module):
    """A network for pixels as duels run it: scores at the images' size, and the loss in training.

    Args:
        model: ours in its task, or a reference.
        targets: classes of the pixels.
    """

    def __init__(self, model, targets):
        super().__init__()
        self.model, self.targets = model, targets

    def forward(self, images):
        theirs = isinstance(self.model, PreTrainedModel)
        if isinstance(self.model, Segment):
            if not self.training:
                return self.model.model(images)
            batch = Masked(images, self.targets, images.new_ones(len(images)))
            return self.model(batch, self.model.count(batch)).total
        if not self.training:
            found = self.model(images)
            return resized(found.logits if theirs else found, images.shape[2:])
        if theirs:
            return self.model(images, labels=self.targets).loss
        return F.cross_entropy(self.model(images), self.targets)


class Measuring(nn.Module):
    """A network for depths as duels run it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        found = self.model(images)
        return found.predicted_depth if isinstance(self.model, PreTrainedModel) else found[:, 0]


def race(name, change, given):
    """Yield a row for each peer of a model."""
    configs = settled(name, change)
    found = makers(name) or {packaged.NAME: packaged.upernet}
    for label, make in found.items():
        torch.manual_seed(0)
        peer = make(configs, heads.config(name).num_classes)
        ours, theirs = opponents(peer, given.batch)
        facts = {"model": name, "changed": change, "peer": label}
        yield facts | raced(ours, {"": theirs}, varied(configs[0], given.batch), given)


def settled(name, change):
    """Return the configs of a name's backbone and head, without dropout."""
    if "backbone" in change:  # with the widths that the peer has
        body = replace(models.config(change["backbone"]), image_size=change["image_size"])
        return body, replace(heads.config(name).head, norms=True, aux=False, channels=256)
    body, head = pair(name, change["image_size"])
    drops = any(part.name == "drop_rate" for part in fields(head))
    return body, replace(head, drop_rate=0.0) if drops else head


def opponents(peer, count):
    """Return ours and a peer with the same weights, as duels run them on so many pictures."""
    for part in peer.model.modules():
        for rate in RATES:
            if isinstance(vars(part).get(rate), float):
                setattr(part, rate, 0.0)
    if isinstance(peer, sets.SetPeer):
        return detectors(peer, count)
    config = peer.pair[0]
    perturbed(peer.model, peer.file).eval()
    steady(peer.model, peer.see, config)
    weights = peer.model.state_dict()
    ours, _ = filled(peer.file, peer.format, peer.family, peer.pair, weights, peer.classes)
    if isinstance(peer.pair[1], DPTDepthConfig):
        return Measuring(ours), Measuring(peer.model)
    generator = torch.Generator().manual_seed(4)
    targets = torch.randint(peer.classes, (count, *config.image_size), generator=generator)
    return Masking(Segment(ours), targets), Masking(peer.model, targets)


def detectors(peer, count):
    """Return our detector and a peer's with the same weights, and with the same parts frozen."""
    objects = crowded(peer, count)
    sets.steady(peer, objects)
    ours, _ = sets.made_of(peer)
    for part in (ours.backbone.stem, ours.backbone.stages[0]):
        part.requires_grad_(False)
    for name, parameter in peer.model.named_parameters():
        if name.partition("backbone.model.")[2].startswith(FROZEN):
            parameter.requires_grad_(False)
    assert learning(ours) == learning(peer.model)
    mine = objects if peer.file == "detr_panoptic" else objects._replace(masks=None)
    ranked = getattr(peer.pair[1], "two_stage", False)
    sides = ((Detect(ours), mine), (peer.model, objects))
    return tuple(Detecting(model, batch, ranked=ranked) for model, batch in sides)


def learning(model):
    """Count the parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def crowded(peer, count):
    """Return objects in so many pictures, of which each fills the batch."""
    size, generator = peer.pair[0].image_size, torch.Generator().manual_seed(4)
    centres, sides = torch.rand(2, count, OBJECTS, 2, generator=generator)
    labels = torch.randint(peer.classes, (count, OBJECTS), generator=generator)
    return Boxed(
        varied(peer.pair[0], count),
        torch.tensor([size] * count),
        torch.cat([0.2 + 0.6 * centres, 0.1 + 0.3 * sides], dim=-1),
        labels,
        torch.ones(count),
        torch.rand(count, OBJECTS, *size, generator=generator) > 0.5,
    )


def page():
    """Draw docs/speed-dense.md from the rows that were kept."""
    rows = kept(KEPT)
    head = HEAD.format(rounds=ROUNDS, about=measured(rows))
    whole = [row for row in rows if row["model"] in MODELS]
    parts = [row for row in rows if row["model"] in sampling.SHAPES]
    text = [head, COLUMNS, *map(line, whole), *means(whole), PARTS, COLUMNS, *map(line, parts)]
    PAGE.write_text("".join(text), encoding="utf-8")


def main():
    given = asked(__doc__, batch=2)
    if given.page:
        return page()
    run(race, MODELS, KEPT, given)
    run(sampling.race, sampling.SHAPES, KEPT, given)


if __name__ == "__main__":
    main()
