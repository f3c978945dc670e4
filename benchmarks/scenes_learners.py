"""What learns in `benchmarks.scenes`, how it reads a batch, and how it is scored."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from benchmarks.overfit import compare
from patchword import models
from patchword.data import Frame, Source
from patchword.data.frame import resize, seen_size
from patchword.data.joint import Joint
from patchword.data.scene import VOID, Scene
from patchword.data.scene_batches import SceneBatch
from patchword.evaluation.depth import DepthRule, depth_errors, mean_errors
from patchword.evaluation.detection import Detection
from patchword.evaluation.miou import Confusion
from patchword.heads.deformable_detr import DeformableDETRConfig
from patchword.heads.dense import resized, to_multiple
from patchword.heads.detector import Found, SetHead, answers
from patchword.heads.detr import DETRConfig
from patchword.heads.dpt import DPTDepthConfig
from patchword.heads.segformer import SegFormerConfig
from patchword.heads.segmenter import SegmenterConfig
from patchword.heads.setr import SETRConfig
from patchword.heads.sparse_rcnn import SparseRCNNConfig
from patchword.models.vit import ViTConfig
from patchword.pages.overlays import coloured_depth, overlay
from patchword.predictor import normalise
from patchword.tasks.base import Loss, Task
from patchword.tasks.depth import Depth, Depths
from patchword.tasks.detect import Boxed, Detect, boxed
from patchword.tasks.segment import Masked, Segment
from patchword.training.scenes import stacked
from tests.heads import deformable_detr, segformer, sets
from tests.heads.made import filled

SHOWN = 4  # pictures
SURE = 0.5  # score from which a box is drawn
COLOURS = models.family("mit_b0").PREPROCESSING  # mean and deviation, of all models
FAR = DepthRule(far=10.0, alignment="disparity")
SMALL: dict[str, Any] = {"embed_dim": 128, "num_heads": 8, "mlp_dim": 512, "num_queries": 60}
PLAIN = ViTConfig(patch_size=16, embed_dim=192, depth=12, num_heads=3)  # vit_tiny_patch16
SYSTEMS: dict[str, tuple[Any, Any]] = {
    "segformer": (replace(models.config("mit_b0"), drop_path_rate=0.1), SegFormerConfig()),
    "segmenter": (PLAIN, SegmenterConfig()),
    "setr_pup": (PLAIN, SETRConfig(decoder="pup", channels=64)),
    "deformable_detr": (
        models.config("resnet18"),
        DeformableDETRConfig(depth=(3, 3), drop_rate=0.0, **SMALL),
    ),
    "sparse_rcnn": (models.config("resnet18"), SparseRCNNConfig(depth=4, hidden=32, **SMALL)),
    "detr": (models.config("resnet18"), DETRConfig(depth=(3, 3), drop_rate=0.0, **SMALL)),
    "dpt": (PLAIN, DPTDepthConfig(reassembled=(48, 96, 192, 192), channels=64)),
    "dpt_mit_b0": (models.config("mit_b0"), DPTDepthConfig(channels=64)),
}


@dataclass(frozen=True)
class Field:
    """A data set, how its pictures are seen, and how answers are scored."""

    folder: str
    kind: str
    image_size: tuple[int, int]  # of what is seen in training
    within: tuple[int, int]  # longer and shorter side into which whole pictures are fitted
    split: str  # that is scored
    joint: Joint = field(default_factory=Joint)
    batch_size: int = 4

    @property
    def frame(self) -> Frame:
        """Return how models read pictures."""
        return Frame(
            image_size=self.image_size, within=self.within, mean=COLOURS.mean, std=COLOURS.std
        )

    def read(self, batch: SceneBatch) -> Masked | Boxed | Depths:
        """Return what an objective reads of a batch."""
        images, scenes = normalise(batch.images, self.frame), batch.scenes
        if self.kind == "mask":
            targets = stacked([scene.mask for scene in scenes], images, VOID)
            return Masked(images, targets, batch.weights)
        if self.kind == "depth":
            metres = stacked([scene.depth for scene in scenes], images, 0)
            return Depths(images, metres.reciprocal(), batch.weights)
        there = [scene.objects for scene in scenes]
        objects = [(one.boxes[~one.crowd], one.labels[~one.crowd]) for one in there]
        parts = zip(images, batch.sizes.tolist(), strict=True)
        made = boxed([image[:, :rows, :columns] for image, (rows, columns) in parts], objects)
        return made._replace(weights=batch.weights)

    def scored(self, model: Any, source: Source) -> tuple[dict[str, Any], dict[str, Image.Image]]:
        """Return scores, the main one first, and a few pictures with truth and answer."""
        model.eval()
        way = {"mask": by_masks, "objects": by_boxes, "depth": by_depths}[self.kind]
        with torch.inference_mode():
            return way(model, source, self.seen(source))

    def seen(self, source: Source) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, Scene]]:
        """Yield number, picture, what a model reads of it, and what is known of it."""
        for index in range(len(source)):
            picture = source.read(index)
            size = seen_size(picture.shape[1], picture.shape[2], self.within)
            images = normalise(resize(picture, size, "bilinear")[None], self.frame)
            yield index, picture, images, source.scene(index)


def by_masks(model: Any, source: Source, seen: Any):
    """Score classes of pixels, at the labels' own resolution."""
    tally, shown = Confusion(len(source.classes)), {}
    for index, picture, images, scene in seen:
        answer = resized(model(images), scene.mask.shape).argmax(1)[0]
        tally.add(answer, scene.mask)
        if index < SHOWN:
            there = [m.to(torch.uint8).numpy() for m in (scene.mask, answer)]
            shown[f"{index}"] = beside(picture, *(overlay(pixels(picture), m) for m in there))
    found = tally.score()
    each = dict(zip(source.classes, found.iou.round(4).tolist(), strict=True))
    return {"mIoU": found.mean_iou, "accuracy": found.all_accuracy, "classes": each}, shown


def by_boxes(model: Any, source: Source, seen: Any):
    """Score boxes, in the files' pixels."""
    tally, shown = Detection(len(source.classes)), {}
    for index, picture, images, scene in seen:
        (said,) = model.detect(images, original=[tuple(picture.shape[1:])])
        compare(tally, said, scene.objects)
        if index < SHOWN:
            both = (scene.objects.boxes, said.boxes[said.scores >= SURE])
            shown[f"{index}"] = beside(picture, *(framed(picture, boxes) for boxes in both))
    found = tally.score()
    numbers = found.numbers
    each = dict(zip(source.classes, found.per_class.round(4).tolist(), strict=True))
    return {"AP50": numbers["AP50"], "AP": numbers["AP"], "classes": each}, shown


def by_depths(model: Any, source: Source, seen: Any):
    """Score inverse depths, once they are aligned."""
    errors, shown = [], {}
    for index, picture, images, scene in seen:
        answer = resized(model(images), scene.depth.shape)[0, 0]
        errors.append(depth_errors(answer, scene.depth, scene.depth > 0, FAR))
        if index < SHOWN:
            near = scene.depth.reciprocal().where(scene.depth > 0, torch.nan)
            maps = (coloured_depth(one.numpy()) for one in (near, answer))
            shown[f"{index}"] = beside(picture, *maps)
    found = asdict(mean_errors(errors))
    return {name: found[name] for name in ("delta1", "abs_rel", "rmse")}, shown


def pixels(picture: torch.Tensor) -> np.ndarray:
    """Return a picture as overlays want it."""
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


def framed(picture: torch.Tensor, boxes: torch.Tensor) -> np.ndarray:
    """Draw boxes on a picture."""
    image = Image.fromarray(pixels(picture))
    for box in boxes.tolist():
        ImageDraw.Draw(image).rectangle(box, outline=(255, 210, 0), width=2)
    return np.asarray(image)


def beside(picture: torch.Tensor, *others: np.ndarray) -> Image.Image:
    """Put a picture, its truth and its answer side by side."""
    return Image.fromarray(np.concatenate([pixels(picture), *others], axis=1))


def configs(system: str, field: Field, *, started: bool = False) -> tuple[Any, Any]:
    """Return a system's configs of backbone and head, on a field's images.

    Batch norms of a detector's backbone learn, unless it starts from one that was trained.
    """
    body, head = SYSTEMS[system]
    if field.kind == "objects":
        head = replace(head, frozen_norms=started)
    return replace(body, image_size=field.image_size), head


def ours(system: str, field: Field, classes: int, *, started: bool = False) -> Task:
    """Return a system of ours in its objective, with fresh weights."""
    body, head = configs(system, field, started=started)
    model = head.assemble(body.build(), classes)
    task: Callable[[Any], Task] = {"mask": Segment, "objects": Detect, "depth": Depth}[field.kind]
    return task(model)


def adopted(system: str, field: Field, classes: int, *, started: bool = False) -> Task:
    """Return a SegFormer of ours with the fresh weights of transformers'."""
    assert system == "segformer" and not started
    peer = segformer.transformers_s(configs(system, field), classes)
    weights = peer.model.state_dict()
    model, _ = filled(peer.file, peer.format, peer.family, peer.pair, weights, peer.classes)
    return Segment(model)


class Packaged(Task):
    """Another library's network, and the loss that it brings itself: a mean over a batch.

    Args:
        model: of transformers; its answers are in `logits`, its loss in `loss`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def count(self, batch: Any) -> torch.Tensor:
        """Count nothing: its mean is its own."""
        return batch.images.new_ones(())

    def forward(self, batch: Any, count: torch.Tensor) -> Loss:
        """Return what a batch costs."""
        loss = self.model.loss(batch)
        return Loss(loss, {"main": loss.detach()})


class PackagedMasks(nn.Module):
    """Transformers' network for pixels, on images of any size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def loss(self, batch: Masked) -> torch.Tensor:
        """Return its own loss."""
        return self.network(batch.images, labels=batch.targets.long()).loss

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Score every pixel; sides are padded as ours are."""
        whole, (rows, columns) = to_multiple(images, 32), images.shape[2:]
        return resized(self.network(whole).logits, whole.shape[2:])[..., :rows, :columns]


class Scored(SetHead):
    """How a detector of classes scored by themselves is read."""

    def heads(self, taps: Any, extent: Any) -> Any:
        raise NotImplementedError


class PackagedBoxes(nn.Module):
    """Transformers' detector."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, Scored((), 0)

    def loss(self, batch: Boxed) -> torch.Tensor:
        """Return its own loss."""
        masks = batch.images.new_zeros(*batch.labels.shape, 1, 1)
        return self.network(**sets.asked(batch._replace(masks=masks))).loss

    def detect(self, images: torch.Tensor, *, original: Any) -> list[Any]:
        """Answer with boxes in a picture's pixels."""
        said = self.network(images)
        size = tuple(images.shape[2:])
        found = Found(said.logits, said.pred_boxes)
        return answers(self.head, found, size, [size] * len(images), original)


def packaged(system: str, field: Field, classes: int, *, started: bool = False) -> Task:
    """Return transformers' network of a system in its own objective, with its own fresh weights.

    All of it learns, and batch norms do: it freezes those of a backbone, whether it is trained or
    not.
    """
    assert not started
    pair = configs(system, field)
    if field.kind == "mask":
        return Packaged(PackagedMasks(segformer.transformers_s(pair, classes).model))
    network = deformable_detr.transformers_s(pair, classes).model
    thaw(network.model.backbone)
    for part in network.modules():
        if isinstance(vars(part).get("dropout"), float):
            part.dropout = 0.0  # as in ours
    return Packaged(PackagedBoxes(network.requires_grad_()))


def thaw(module: nn.Module) -> None:
    """Replace frozen batch norms by ones that learn."""
    for name, child in module.named_children():
        if type(child).__name__.endswith("FrozenBatchNorm2d"):
            setattr(module, name, nn.BatchNorm2d(len(child.weight)))
        else:
            thaw(child)


MAKERS = {"ours": ours, "ours, their fresh weights": adopted, "transformers": packaged}
