"""Detection as set prediction: match queries with objects one to one, then learn each its own.

Paper      matching and losses: Carion et al. 2020, arXiv:2005.12872, section 3.1; of masks: its
           appendix; classes scored by themselves: Zhu et al. 2021, arXiv:2010.04159, by the focal
           loss of Lin et al. 2017, arXiv:1708.02002; generalised overlap: Rezatofighi et al. 2019,
           arXiv:1902.09630
Reference  github.com/facebookresearch/detr, models/detr.py, matcher.py and segmentation.py;
           github.com/fundamentalvision/Deformable-DETR; github.com/PeizeSun/SparseR-CNN, loss.py
Departures objects that outnumber the queries go unmatched; what is not a number in a cost counts
           as dear, so that the loss can tell of it
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchword.errors import ConfigError
from patchword.heads.dense import MAIN, resized
from patchword.heads.detector import PROPOSALS, Detector, Found, corners
from patchword.tasks.base import Loss, Task

NOTHING = -1  # the label of a row that is no object, and the query of one that none was left for
DEAR = 1e30  # a cost beyond all others


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the differences between a query's answer and an object count."""

    label: float
    box: float = 5.0  # L1, in sides of the image
    overlap: float = 2.0  # generalised overlap


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What the loss is made of. Weights that are None are those of the head's paper."""

    cost: Weights | None = None  # in matching
    loss: Weights | None = None
    no_object: float = 0.1  # by which a query without an object counts, where classes are exclusive
    alpha: float = 0.25  # of the focal loss: the part of what is there
    gamma: float = 2.0  # of the focal loss: how little what is known already counts
    mask: float = 1.0  # of the focal loss of masks' pixels
    dice: float = 1.0  # of masks' overlaps

    def __post_init__(self) -> None:
        if not (0 <= self.alpha <= 1 and self.gamma >= 0 and self.no_object > 0):
            raise ConfigError(
                f"alpha is {self.alpha}, gamma {self.gamma}, no_object {self.no_object}; wanted: a "
                "share, 0 or more, more than 0"
            )


class Boxed(NamedTuple):
    """Images and the objects in them, as many rows as the fullest image has objects."""

    images: Float[Tensor, "b c h w"]  # normalised, padded with zeros at the right and below
    sizes: Int[Tensor, "b 2"]  # rows and columns of each image without its padding
    boxes: Float[Tensor, "b n 4"]  # centre x and y, width, height, in sides of the image
    labels: Int[Tensor, "b n"]  # NOTHING where there is no object
    weights: Float[Tensor, " b"]  # 1; 0 for a picture that could not be read
    masks: Bool[Tensor, "b n h w"] | None = None  # of the padded images' size


class Detect(Task):
    """Classes, boxes and masks of the queries that objects are matched with, layer by layer."""

    def __init__(self, model: Detector, how: Detection | None = None) -> None:
        super().__init__()
        self.model, self.how = model, how or Detection()
        standard = Weights(label=1.0 if model.head.scoring == "softmax" else 2.0)
        self.cost, self.loss = self.how.cost or standard, self.how.loss or standard

    def count(self, batch: Boxed) -> Float[Tensor, " 2"]:
        """Count the objects; and the queries, those without an object by their weight."""
        each = (batch.labels != NOTHING).sum(dim=1)
        matched = each.clamp(max=self.model.head.num_queries)
        empty = self.model.head.num_queries - matched
        queries = matched + self.how.no_object * empty
        return torch.stack([(each * batch.weights).sum(), (queries * batch.weights).sum()])

    def forward(self, batch: Boxed, count: Float[Tensor, " 2"]) -> Loss:
        """Return the sum over the layers, each matched by itself."""
        found = self.model.heads(batch.images, batch.sizes)
        if batch.masks is not None:  # the answers' grids cover what was read
            batch = batch._replace(masks=self.model.padded(batch.masks))
        wanted = {name: self.wanted(name, batch) for name in found}
        taken = self.matched(found, wanted)
        objects, queries = count[0].clamp(min=1), count[1].clamp(min=self.how.no_object)
        parts: dict[str, Tensor] = {}
        for name, said in found.items():
            target, rows = wanted[name], taken[name]
            kept = (rows != NOTHING) * batch.weights[:, None]
            classes = self.label_costs(said, target.labels, rows).sum(dim=1) * batch.weights
            per = queries if self.model.head.scoring == "softmax" else objects
            box, overlap = self.box_costs(said, target.boxes, rows)
            parts[f"{name}.label"] = self.loss.label * classes.sum() / per
            parts[f"{name}.box"] = self.loss.box * (box * kept).sum() / objects
            parts[f"{name}.overlap"] = self.loss.overlap * (overlap * kept).sum() / objects
            if said.masks is not None and target.masks is not None:
                mask, dice = self.mask_costs(said.masks, target.masks, kept > 0, rows)
                parts[f"{name}.mask"] = self.how.mask * mask.sum() / objects
                parts[f"{name}.dice"] = self.how.dice * dice.sum() / objects
        return Loss(torch.stack([*parts.values()]).sum(), parts)

    def wanted(self, name: str, batch: Boxed) -> Boxed:
        """Return what a layer is to find; proposals are of objects, whatever their class."""
        if name != PROPOSALS:
            return batch
        return batch._replace(labels=batch.labels.clamp(max=0), masks=None)

    @torch.no_grad()
    def matched(
        self, found: dict[str, Found], wanted: dict[str, Boxed]
    ) -> dict[str, Int[Tensor, "b n"]]:
        """Return the query that each object is matched with, layer by layer."""
        costs = {name: self.costs(said, wanted[name]) for name, said in found.items()}
        device = wanted[MAIN].labels.device
        there = (wanted[MAIN].labels != NOTHING).sum(dim=1)
        exact = costs[MAIN].dtype
        flat = [there.to(exact), *(cost.flatten().to(exact) for cost in costs.values())]
        counts, *rest = torch.cat(flat).cpu().split([len(part) for part in flat])
        return {
            name: assigned(numbers.view(costs[name].shape), counts.int().tolist()).to(device)
            for name, numbers in zip(costs, rest, strict=True)
        }

    def costs(self, said: Found, wanted: Boxed) -> Float[Tensor, "b q n"]:
        """Return what matching each query with each object would cost."""
        scores, boxes, objects = exactly(said.scores), exactly(said.boxes), wanted.boxes
        if self.model.head.scoring == "softmax":
            classes = -scores.softmax(dim=-1)
        else:
            p, how = scores.sigmoid(), self.how
            there = how.alpha * (1 - p) ** how.gamma * -(p + 1e-8).log()
            classes = there - (1 - how.alpha) * p**how.gamma * -(1 - p + 1e-8).log()
        places = wanted.labels.clamp(min=0)[:, None].expand(-1, scores.shape[1], -1)
        objects = objects.to(boxes.dtype)
        apart = torch.cdist(self.form(boxes), self.form(objects), p=1)
        overlap = overlaps(corners(boxes)[:, :, None], corners(objects)[:, None])
        w = self.cost
        total = w.label * classes.gather(2, places) + w.box * apart - w.overlap * overlap
        return total.nan_to_num(DEAR, DEAR, -DEAR)

    def form(self, boxes: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
        """Return boxes in the form in which the head's are compared."""
        return boxes if self.model.head.compared == "centred" else corners(boxes)

    def label_costs(
        self, said: Found, labels: Int[Tensor, "b n"], taken: Int[Tensor, "b n"]
    ) -> Float[Tensor, "b q"]:
        """Return what each query's scores cost."""
        scores = exactly(said.scores)
        b, q, classes = scores.shape
        none = classes - 1 if self.model.head.scoring == "softmax" else classes
        target = labels.new_full((b, q + 1), none)  # the last query stands for none at all
        target = target.scatter(1, taken.where(taken != NOTHING, q), labels)[:, :q]
        if self.model.head.scoring == "softmax":
            cost = F.cross_entropy(scores.transpose(1, 2), target, reduction="none")
            return cost.where(target != none, self.how.no_object * cost)
        there = F.one_hot(target, classes + 1)[..., :classes].to(scores.dtype)
        return focal(scores, there, self.how.alpha, self.how.gamma).sum(dim=2)

    def box_costs(
        self, said: Found, boxes: Float[Tensor, "b n 4"], taken: Int[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
        """Return how far each object's box is from its query's, and what their overlap lacks."""
        places = taken.clamp(min=0)[..., None].expand(-1, -1, 4)
        own = exactly(said.boxes).gather(1, places)
        wanted = boxes.to(own.dtype).where((taken != NOTHING)[..., None], own.detach())
        apart = (self.form(own) - self.form(wanted)).abs().sum(dim=-1)
        lacking = 1 - overlaps(corners(own), corners(wanted))
        return apart, lacking.where(taken != NOTHING, 0)

    def mask_costs(
        self,
        masks: Float[Tensor, "b q rows columns"],
        wanted: Bool[Tensor, "b n h w"],
        kept: Bool[Tensor, "b n"],
        taken: Int[Tensor, "b n"],
    ) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        """Return what the masks of the queries with an object cost, by pixels and by overlap."""
        image, place = kept.nonzero(as_tuple=True)
        own = exactly(masks[image, taken[image, place]])
        own = resized(own[:, None], wanted.shape[2:])[:, 0].flatten(1)
        target = wanted[image, place].flatten(1).to(own.dtype)
        p = own.sigmoid()
        dice = 1 - (2 * (p * target).sum(1) + 1) / (p.sum(1) + target.sum(1) + 1)
        return focal(own, target, self.how.alpha, self.how.gamma).mean(1), dice


def assigned(costs: Float[Tensor, "b q n"], counts: Sequence[int]) -> Int[Tensor, "b n"]:
    """Match queries with objects so that all together cost least (Kuhn 1955).

    Args:
        costs: of each pair.
        counts: how many of the n rows are objects, in each image.

    Returns:
        the query of each object; NOTHING where there is none.
    """
    from scipy.optimize import linear_sum_assignment

    taken = torch.full((len(costs), costs.shape[2]), NOTHING)
    for image, count in enumerate(counts):
        queries, objects = linear_sum_assignment(costs[image, :, :count].numpy())
        taken[image, torch.from_numpy(objects)] = torch.from_numpy(queries)
    return taken


def exactly(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return numbers in single precision at least, whatever the network computes in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def focal(
    scores: Float[Tensor, "..."], there: Float[Tensor, "..."], alpha: float, gamma: float
) -> Float[Tensor, "..."]:
    """Return the focal loss of each score: what is known already counts little."""
    p = scores.sigmoid()
    cost = F.binary_cross_entropy_with_logits(scores, there, reduction="none")
    unsure = p * (1 - there) + (1 - p) * there
    return (alpha * there + (1 - alpha) * (1 - there)) * unsure**gamma * cost


def overlaps(a: Float[Tensor, "*#b 4"], b: Float[Tensor, "*#b 4"]) -> Float[Tensor, "*b"]:
    """Return generalised overlaps of boxes by their corners: 1 if equal, towards -1 if far apart.

    That is their intersection over their union, less the share of the smallest box around both
    that is in neither.
    """
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    both, around = inner.prod(-1), outer.clamp(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
    return both / union - (around - union) / around


def boxed(
    images: Sequence[Float[Tensor, "c _ _"]],
    objects: Sequence[tuple[Float[Tensor, "_ 4"], Int[Tensor, " _"]]],
    masks: Sequence[Bool[Tensor, "_ _ _"]] | None = None,
) -> Boxed:
    """Make a batch of images of any sizes.

    Args:
        images: normalised.
        objects: boxes (left, top, right, bottom, in pixels) and labels of each; crowds left out.
        masks: of each image's objects.
    """
    rows, columns = (max(image.shape[axis] for image in images) for axis in (1, 2))
    most = max([len(labels) for _, labels in objects])
    padded = images[0].new_zeros(len(images), images[0].shape[0], rows, columns)
    boxes = images[0].new_full((len(images), most, 4), 0.5)
    labels = torch.full((len(images), most), NOTHING, device=padded.device)
    drawn = None
    if masks is not None:
        drawn = torch.zeros(len(images), most, rows, columns, dtype=torch.bool, device=boxes.device)
    for i, (image, (found, names)) in enumerate(zip(images, objects, strict=True)):
        h, w = image.shape[1:]
        padded[i, :, :h, :w] = image
        low, high = found.split(2, dim=1)
        centre_and_sides = torch.cat([(low + high) / 2, high - low], dim=1)
        boxes[i, : len(found)] = centre_and_sides / centre_and_sides.new_tensor([w, h, w, h])
        labels[i, : len(names)] = names
        if drawn is not None and masks is not None:
            drawn[i, : len(found), :h, :w] = masks[i]
    sizes = torch.tensor([image.shape[1:] for image in images], device=padded.device)
    return Boxed(padded, sizes, boxes, labels, padded.new_ones(len(images)), drawn)
