"""MaX-DeepLab's objective: each segment is matched with a slot, whose mask and class learn it.

Paper      Wang et al., "MaX-DeepLab: End-to-End Panoptic Segmentation with Mask Transformers",
           CVPR 2021, arXiv:2012.00759, sections 3.1 and 3.3
Reference  github.com/google-research/deeplab2, model/loss/max_deeplab_loss.py and base_loss.py
Departures pixels whose loss is exactly 0 count in the means; an image without a segment has no part
           in the mean over images
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchword.heads.dense import resized
from patchword.heads.max_deeplab import CLASSES, MASKS, PIXELS, SEMANTIC
from patchword.heads.panoptic import Answers, Panoptic
from patchword.tasks.base import Loss, Task
from patchword.tasks.panoptic import NONE, Parted, classes, counted, mean

NOWHERE = -99_999.0  # the score of a slot that there is not
LEAST = 1e-5  # weight of a term by another's quality


@dataclass(frozen=True, kw_only=True)
class SlotLoss:
    """What the loss is made of."""

    pq: float = 3.0  # weight of both terms in the style of panoptic quality
    mask_id: float = 0.3  # of the cross-entropy of pixels over slots
    instance: float = 1.0  # of the discrimination of things by their pixels
    semantic: float = 1.0  # of the auxiliary head
    alpha: float = 0.75  # weight of slots that are matched, beside 1 - alpha of the others
    temperature: float = 0.3  # of the discrimination


class Truth(NamedTuple):
    """The segments of one image at the cells of the masks."""

    masks: Float[Tensor, "m cells"]  # 1 in a segment: a thing, or all stuff of a class; else 0
    labels: Int[Tensor, " m"]
    things: int  # how many of them, the first ones, are things
    known: Float[Tensor, " cells"]  # 1 where there is a class, in crowds too


def truth(
    ids: Int[Tensor, "h w"],
    labels: Int[Tensor, " n"],
    crowd: Bool[Tensor, " n"],
    things: Collection[int],
    dtype: torch.dtype,
) -> Truth:
    """Return the segments of one image; those without a cell are left out.

    Args:
        ids: of segments, at the cells of the masks.
        labels: of segments.
        crowd: whether each is many things.
        things: the classes that are things.
        dtype: of the masks.
    """
    places = ids.flatten()
    there = [k for k in places.unique().tolist() if k and labels[k - 1] >= 0]
    own = [k for k in there if int(labels[k - 1]) in things and not crowd[k - 1]]
    found = [(places == k, int(labels[k - 1])) for k in own]
    for kind in sorted({int(labels[k - 1]) for k in there} - {*things}):
        its = [k for k in there if labels[k - 1] == kind]
        found.append((torch.isin(places, places.new_tensor(its)), kind))
    none = places.new_zeros(0, len(places), dtype=torch.bool)
    return Truth(
        torch.cat([none, *(mask[None] for mask, _ in found)]).to(dtype),
        labels.new_tensor([label for _, label in found]),
        len(own),
        torch.isin(places, places.new_tensor(there)).to(dtype),
    )


class SlotPanoptic(Task):
    """The terms of panoptic quality for matched slots, and three auxiliary ones."""

    def __init__(self, model: Panoptic, how: SlotLoss | None = None) -> None:
        super().__init__()
        self.model, self.how = model, how or SlotLoss()

    def count(self, batch: Parted) -> Float[Tensor, ""]:
        """Count the images that have a segment."""
        return counted(batch).sum()

    def forward(self, batch: Parted, count: Float[Tensor, ""]) -> Loss:
        """Return the mean over the step's images."""
        found = self.model.answers(batch.images)
        exact = torch.promote_types(found[MASKS].dtype, torch.float32)
        found = {name: t.to(exact) for name, t in found.items()}
        step = self.model.backbone.multiple
        rows, columns = batch.images.shape[2:]
        ids = F.pad(batch.ids, (0, -columns % step, 0, -rows % step))
        semantic = resized(found[SEMANTIC], ids.shape[1:])[..., :rows, :columns]
        labels = classes(batch.ids, batch.labels)
        each = F.cross_entropy(semantic, labels, ignore_index=NONE, reduction="none")
        at_cells = F.interpolate(
            ids[:, None].to(exact), found[MASKS].shape[2:], mode="nearest-exact"
        )[:, 0].long()
        images = zip(at_cells, batch.labels.cpu(), batch.crowd.cpu(), strict=True)
        wanted = [truth(*image, self.model.head.things, exact) for image in images]
        costs = {**slot_costs(found, wanted, self.how), "semantic": mean(each, labels != NONE)}
        shares = counted(batch) / count.clamp(min=1)
        parts = {name: (each * shares).sum() for name, each in costs.items()}
        weights = vars(self.how) | {"pq_mask": self.how.pq, "pq_class": self.how.pq}
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return Loss(total, parts)


def slot_costs(
    found: Answers, wanted: list[Truth], how: SlotLoss
) -> dict[str, Float[Tensor, " b"]]:
    """Return what each image's slots cost, term by term, without the terms' weights."""
    images = zip(found[MASKS].flatten(2), found[CLASSES], found[PIXELS].flatten(2), strict=True)
    each = [_costs(*image, segments, how) for image, segments in zip(images, wanted, strict=True)]
    return {name: torch.stack([costs[name] for costs in each]) for name in each[0]}


def _costs(
    scores: Float[Tensor, "slots cells"],
    logits: Float[Tensor, "slots classes"],
    pixels: Float[Tensor, "d cells"],
    wanted: Truth,
    how: SlotLoss,
) -> dict[str, Float[Tensor, ""]]:
    masks, labels = wanted.masks, wanted.labels.to(logits.device)
    shares, slots = scores.softmax(0), len(scores)
    with torch.no_grad():
        dice = similarity(masks, shares * wanted.known)
        sure = logits.softmax(-1)[:, labels].T  # of each segment's class, by slot
        rows, columns = matched(dice * sure)
        quality, surety = scores.new_zeros(slots), scores.new_zeros(len(masks))
        quality[columns], surety[rows] = dice[rows, columns], sure[rows, columns]
        void = shares @ (1 - wanted.known) / (shares.sum(1) + LEAST)
        slot_of = torch.zeros(len(masks), dtype=torch.long, device=scores.device)
        slot_of[rows] = columns  # as theirs, a segment that found none names the first slot
        kinds = torch.zeros_like(logits)
        kinds.index_put_((slot_of, labels), kinds.new_ones(()), accumulate=True)
        taken = kinds.amax(1) == 1
        kinds[:, -1] = (~taken).to(kinds.dtype)
        weight = torch.where(taken, quality, void).clamp(min=LEAST)
        alpha = how.alpha + (1 - 2 * how.alpha) * kinds[:, -1]
    lost = torch.ones(len(masks), dtype=torch.bool, device=scores.device)
    lost[rows] = False
    inside = masks.sum(0)
    own = shares[slot_of].masked_fill(lost[:, None], 0) * inside
    overlap = (2 * (own * masks).sum(1) + 1) / (own.sum(1) + masks.sum(1) + 1)
    said = scores.log_softmax(0)[slot_of]
    said = said.masked_fill(lost[:, None], 0) + lost[:, None] * (NOWHERE - scores.logsumexp(0))
    terms = -(kinds * logits.log_softmax(-1)).sum(1)
    return {
        "pq_mask": ((1 - overlap) * surety.clamp(min=LEAST)).sum() * how.alpha / slots,
        "pq_class": (alpha * weight * terms).mean(),
        "mask_id": -(masks * said).sum() / inside.sum().clamp(min=1),
        "instance": discrimination(pixels, wanted, how.temperature),
    }


def similarity(
    masks: Float[Tensor, "m cells"], shares: Float[Tensor, "slots cells"]
) -> Float[Tensor, "m slots"]:
    """Return the dice coefficient of each segment and each slot."""
    sizes = (masks.sum(1)[:, None] + shares.sum(1)) / 2
    return masks @ shares.T / (sizes + LEAST)


def matched(
    similarity: Float[Tensor, "m slots"],
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Return segments and slots that belong together, so that their similarities sum highest."""
    from scipy.optimize import linear_sum_assignment

    pairs = linear_sum_assignment(similarity.cpu().numpy(), maximize=True)
    rows, columns = (torch.as_tensor(one, device=similarity.device) for one in pairs)
    return rows, columns


def discrimination(
    pixels: Float[Tensor, "d cells"], wanted: Truth, temperature: float
) -> Float[Tensor, ""]:
    """Return how ill the cells of things are told by the mean features of segments (section 3.3).

    Args:
        pixels: features of length 1.
        wanted: the segments.
        temperature: by which similarities are divided.
    """
    masks = wanted.masks
    if not len(masks):
        return pixels.sum() * 0
    centres = F.normalize(masks @ pixels.T / masks.sum(1, keepdim=True), dim=1)
    said = (centres @ pixels / temperature).log_softmax(0)
    things = masks[: wanted.things]
    return -(things * said[: wanted.things]).sum() / things.sum().clamp(min=1)
