"""Panoptic segmentation from the bottom up: learn classes, centres of things, and ways to them.

Paper      Cheng et al., "Panoptic-DeepLab", CVPR 2020, arXiv:1911.10194, section 3.2; so
           Axial-DeepLab is trained: Wang et al. 2020, arXiv:2003.07853, section 4
Reference  github.com/google-research/deeplab2, model/loss/base_loss.py, data/sample_generator.py,
           and its configs
Departures pixels whose loss is exactly 0 count in the means; an image without a segment has no part
           in the mean over images
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchword.data.scene import Panoptic as Scene
from patchword.errors import ConfigError
from patchword.heads.axial_deeplab import CENTRE, OFFSET
from patchword.heads.dense import MAIN
from patchword.heads.panoptic import Panoptic
from patchword.tasks.base import Loss, Task

NONE = -1  # the class of pixels that are in no segment


@dataclass(frozen=True, kw_only=True)
class BottomUp:
    """What the loss is made of."""

    hardest: float = 0.2  # share of an image's pixels whose classes are learnt: the least likely
    small_area: int = 4096  # pixels, below which a thing's pixels
    small_weight: float = 3.0  # count so many times for the classes
    sigma: float = 8.0  # deviation of the heat around a centre, in pixels
    semantic: float = 1.0  # weight of the classes' cross-entropy
    centre: float = 200.0  # of the squared error of the heat
    offset: float = 0.01  # of the pixels by which offsets are wrong along an axis

    def __post_init__(self) -> None:
        if not 0 < self.hardest <= 1 or self.sigma <= 0:
            raise ConfigError(
                f"hardest is {self.hardest}, sigma {self.sigma}; wanted: a share above 0 and up to "
                "1, a deviation above 0"
            )


class Parted(NamedTuple):
    """Images, and the segments of each."""

    images: Float[Tensor, "b c h w"]  # normalised
    ids: Int[Tensor, "b h w"]  # of a pixel's segment, from 1; 0 where it is in none
    labels: Int[Tensor, "b n"]  # the class of segment k, at place k - 1; -1: there are no more
    crowd: Bool[Tensor, "b n"]  # many things at once
    weights: Float[Tensor, " b"]  # 1; 0 for a picture that could not be read


def parted(images: Float[Tensor, "b c h w"], scenes: Sequence[Scene]) -> Parted:
    """Put images and their segments together, numbered as they are listed.

    Args:
        images: normalised.
        scenes: the segments of each, in maps of the images' size.
    """
    most = max([1, *(len(scene.segments) for scene in scenes)])
    labels = torch.full((len(scenes), most), -1, dtype=torch.long)
    crowd = torch.zeros(len(scenes), most, dtype=torch.bool)
    ids = torch.zeros(len(scenes), *images.shape[2:], dtype=torch.long)
    for i, scene in enumerate(scenes):
        for k, segment in enumerate(scene.segments):
            labels[i, k], crowd[i, k] = segment.label, segment.crowd
            ids[i][scene.ids == segment.id] = k + 1
    return Parted(images, ids, labels, crowd, torch.ones(len(scenes)))


def counted(batch: Parted) -> Float[Tensor, " b"]:
    """Return the images' weights, 0 for those without a segment."""
    return (batch.ids > 0).flatten(1).any(dim=1) * batch.weights


def classes(ids: Int[Tensor, "b h w"], labels: Int[Tensor, "b n"]) -> Int[Tensor, "b h w"]:
    """Return the class of each pixel, NONE where it is in no segment."""
    found = labels.gather(1, (ids.flatten(1) - 1).clamp(min=0)).view_as(ids)
    return found.masked_fill((ids == 0) | (found < 0), NONE)


class Targets(NamedTuple):
    """What the heads are to say of one image."""

    heat: Float[Tensor, "h w"]  # from 0 to 1 at the centres of things
    offset: Float[Tensor, "2 h w"]  # rows and columns from a pixel of a thing to its centre
    things: Bool[Tensor, "h w"]  # pixels of one thing; not those of crowds
    weights: Float[Tensor, "h w"]  # of the classes


def targets(
    ids: Int[Tensor, "h w"], things: Sequence[int], how: BottomUp, dtype: torch.dtype
) -> Targets:
    """Work out what the heads are to say.

    Args:
        ids: of segments.
        things: those ids that are of one thing each.
        how: the sizes.
        dtype: of the numbers.
    """
    rows, columns = (torch.arange(n, device=ids.device, dtype=dtype) for n in ids.shape)
    heat = torch.zeros(ids.shape, device=ids.device, dtype=dtype)
    offset, weights = heat.new_zeros(2, *ids.shape), heat.new_ones(ids.shape)
    for k in things:
        mask = ids == k
        places = mask.nonzero().to(dtype)
        if not len(places):
            continue
        y, x = places.mean(dim=0).round()
        lines = (bell(along - centre, how.sigma) for along, centre in ((rows, y), (columns, x)))
        heat = torch.maximum(heat, torch.outer(*lines))
        way = torch.stack(torch.meshgrid(y - rows, x - columns, indexing="ij"))
        offset = torch.where(mask, way, offset)
        if len(places) < how.small_area:
            weights = weights.masked_fill(mask, how.small_weight)
    known = torch.isin(ids, ids.new_tensor(list(things)))
    return Targets(heat, offset, known, weights)


def bell(apart: Float[Tensor, " n"], sigma: float) -> Float[Tensor, " n"]:
    """Return exp(-x^2 / (2 sigma^2)), cut off after three deviations and a pixel."""
    return (-apart.square() / (2 * sigma**2)).exp() * (apart.abs() <= round(3 * sigma + 1))


class BottomUpPanoptic(Task):
    """Cross-entropy of the hardest pixels, the squared error of heat, the distance of offsets."""

    def __init__(self, model: Panoptic, how: BottomUp | None = None) -> None:
        super().__init__()
        self.model, self.how = model, how or BottomUp()

    def count(self, batch: Parted) -> Float[Tensor, ""]:
        """Count the images that have a segment."""
        return counted(batch).sum()

    def forward(self, batch: Parted, count: Float[Tensor, ""]) -> Loss:
        """Return the mean over the step's images."""
        found = self.model.enlarged(batch.images)
        exact = torch.promote_types(found[MAIN].dtype, torch.float32)
        found = {name: t.to(exact) for name, t in found.items()}
        things = batch.labels.new_tensor(self.model.head.things)
        labels = classes(batch.ids, batch.labels)
        single = (torch.isin(batch.labels, things) & ~batch.crowd).cpu()
        wanted = [
            targets(ids, (alone.nonzero()[:, 0] + 1).tolist(), self.how, exact)
            for ids, alone in zip(batch.ids, single, strict=True)
        ]
        truth = Targets(*(torch.stack(part) for part in zip(*wanted, strict=True)))
        costs = self.costs(found, truth, labels, torch.isin(labels, things) & ~truth.things)
        shares = counted(batch) / count.clamp(min=1)
        parts = {name: (each * shares).sum() for name, each in costs.items()}
        how = self.how
        weights = {"semantic": how.semantic, CENTRE: how.centre, OFFSET: how.offset}
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return Loss(total, parts)

    def costs(
        self,
        found: dict[str, Tensor],
        truth: Targets,
        labels: Int[Tensor, "b h w"],
        crowd: Bool[Tensor, "b h w"],
    ) -> dict[str, Float[Tensor, " b"]]:
        """Return what each image's answers cost, term by term, without their weights."""
        known = labels != NONE
        each = F.cross_entropy(found[MAIN], labels, ignore_index=NONE, reduction="none")
        told = known & ~crowd
        return {
            "semantic": hardest(each * truth.weights, known, self.how.hardest),
            CENTRE: mean((found[CENTRE][:, 0] - truth.heat).square(), told),
            OFFSET: mean((found[OFFSET] - truth.offset).abs().mean(dim=1), truth.things),
        }


def hardest(
    costs: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"], share: float
) -> Float[Tensor, " b"]:
    """Return the mean of each image's largest costs, so many as are a share of all its pixels."""
    flat, known = costs.flatten(1), known.flatten(1)
    most = round(share * flat.shape[1])
    top = flat.masked_fill(~known, 0).topk(max(most, 1), dim=1).values
    return top.sum(dim=1) / known.sum(dim=1).clamp(min=1, max=max(most, 1))


def mean(costs: Float[Tensor, "b h w"], among: Bool[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Return the mean over some pixels of each image; 0 of none."""
    return costs.masked_fill(~among, 0).sum(dim=(1, 2)) / among.sum(dim=(1, 2)).clamp(min=1)
