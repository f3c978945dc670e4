"""What heads of objects are tested by: their answers, losses and matching beside references'."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from patchword.heads.dense import MAIN
from patchword.heads.detector import PROPOSALS
from patchword.heads.detr import DETRConfig
from patchword.tasks.detect import NOTHING, Boxed, Detect, Detection, Weights
from tests.heads.made import filled
from tests.parity.compare import NOISE, relative

LOSSES = {"label": "loss_ce", "box": "loss_bbox", "overlap": "loss_giou"}
LOSSES |= {"mask": "loss_mask", "dice": "loss_dice"}


def sizes_of(padding):
    """Return rows and columns of images whose padding is known pixel by pixel."""
    inside = padding == 0
    rows, columns = inside[:, :, 0].sum(1), inside[:, 0].sum(1)
    assert torch.equal(inside.sum((1, 2)), rows * columns)
    return torch.stack([rows, columns], dim=1)


def batch_of(golden):
    """Return a golden's images and objects."""
    held = golden.held
    images = held["in.images"]
    count = len(images)
    most = max(len(held[f"in.targets.{i}.labels"]) for i in range(count))
    boxes = torch.full((count, most, 4), 0.5)
    labels = torch.full((count, most), NOTHING)
    masks = None
    if "in.targets.0.masks" in held:
        masks = torch.zeros(count, most, *images.shape[2:], dtype=torch.bool)
    for i in range(count):
        found = held[f"in.targets.{i}.labels"]
        labels[i, : len(found)] = found
        boxes[i, : len(found)] = held[f"in.targets.{i}.boxes"]
        if masks is not None:
            masks[i, : len(found)] = held[f"in.targets.{i}.masks"].bool()
    sizes = sizes_of(held["in.padding_mask"])
    return Boxed(images, sizes, boxes, labels, torch.ones(count), masks)


def theirs(name):
    """Return what stands before a layer's answers in a golden, and after its losses' names."""
    if name == MAIN:
        return "", ""
    if name == PROPOSALS:
        return "enc_outputs.", "_enc"
    number = name.removeprefix("aux.")
    return f"aux_outputs.{number}.", f"_{number}"


def outputs(model, golden):
    """Return all that a golden of a detector holds of its answers, matching and losses."""
    batch, task = batch_of(golden), Detect(model)
    found = {}
    said = model.heads(batch.images, batch.sizes)
    for name, one in said.items():
        before, _ = theirs(name)
        found |= {f"{before}pred_logits": one.scores, f"{before}pred_boxes": one.boxes}
        if one.masks is not None:
            found["pred_masks"] = one.masks
    found |= losses(task, batch)
    found |= matches(task, said, batch)
    original = [tuple(row) for row in golden.held["in.target_sizes"].tolist()]
    for i, one in enumerate(model.detect(batch.images, batch.sizes, original)):
        found |= {f"post.{i}.{what}": getattr(one, what) for what in ("scores", "labels", "boxes")}
        if one.masks is not None:
            found[f"post_segm.{i}"] = one.masks[:, None].to(torch.uint8)
    return found


def losses(task, batch):
    """Return the losses, under the authors' names and without weights."""
    loss = task(batch, task.count(batch))
    weights = {"label": task.loss.label, "box": task.loss.box, "overlap": task.loss.overlap}
    weights |= {"mask": task.how.mask, "dice": task.how.dice}
    found = {"loss.total": loss.total}
    for name, part in loss.parts.items():
        layer, _, what = name.rpartition(".")
        found[f"loss.dict.{LOSSES[what]}{theirs(layer)[1]}"] = part / weights[what]
    return found


def matches(task, said, batch):
    """Return what the last layer's queries are matched with, in order of queries."""
    taken = task.matched(said, {name: task.wanted(name, batch) for name in said})[MAIN]
    found = {}
    for i, row in enumerate(taken):
        objects = (row != NOTHING).nonzero()[:, 0]
        order = row[objects].argsort()
        found[f"match.query_index.{i}"] = row[objects][order]
        found[f"match.target_index.{i}"] = objects[order]
    return found


@dataclass(frozen=True, kw_only=True)
class SetPeer:
    """A reference of transformers', and what makes the same network of ours.

    Attributes:
        model: theirs.
        pair: configs of backbone and head.
        file, format: of the head, of the names; the backbone is a ResNet.
        matcher: what matches queries and objects there.
        processor: what turns its answers into boxes in pixels.
        see: its answers to a batch, the earlier layers' among them; calls it if None.
        classes: how many.
    """

    model: nn.Module
    pair: tuple[Any, Any]
    file: str
    format: str
    matcher: Callable[[Any, Any], Any]
    processor: Any
    see: Callable[[Any], Any] | None = None
    classes: int = 5

    def answer(self, batch):
        return self.see(asked(batch)) if self.see else self.model(**asked(batch))


def sample(config, classes):
    """Return two images, one of them padded, and their objects."""
    draw = torch.Generator().manual_seed(3)
    rows, columns = config.image_size
    images = torch.randn(2, config.in_chans, rows, columns, generator=draw)
    sizes = torch.tensor([[rows, columns], [rows * 3 // 4, columns * 2 // 3]])
    images[1, :, sizes[1, 0] :] = 0
    images[1, :, :, sizes[1, 1] :] = 0
    centres, sides = torch.rand(2, 2, 3, 2, generator=draw)
    boxes = torch.cat([0.2 + 0.6 * centres, 0.1 + 0.3 * sides], dim=-1)
    labels = torch.randint(0, classes, (2, 3), generator=draw)
    labels[1, 2] = NOTHING
    return Boxed(images, sizes, boxes, labels, torch.ones(2))


def asked(batch):
    """Return a batch as transformers' networks take it."""
    mask = torch.zeros(batch.images[:, 0].shape, dtype=torch.long)
    labels = []
    for i, (rows, columns) in enumerate(batch.sizes.tolist()):
        mask[i, :rows, :columns] = 1
        there = batch.labels[i] != NOTHING
        labels.append({"class_labels": batch.labels[i, there], "boxes": batch.boxes[i, there]})
    return {"pixel_values": batch.images, "pixel_mask": mask, "labels": labels}


def steady(model):
    """Move every tensor of a reference away from where it starts."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            noise = torch.randn(tensor.shape, generator=draw)
            if name.endswith("running_var"):
                tensor.mul_((0.2 * noise).exp())
            elif tensor.is_floating_point():
                far = 1.0 if "query_position" in name else 0.1 if tensor.ndim < 2 else 0.05
                tensor.add_(far * noise)
    return model.eval().requires_grad_()


def sets_apart(peer):
    """Return how far ours is from a reference, by what is compared."""
    config, head = peer.pair
    steady(peer.model)
    ours, format_ = filled(
        peer.file, peer.format, "resnet", peer.pair, peer.model.state_dict(), peer.classes
    )
    batch = sample(config, peer.classes)
    task = Detect(ours, Detection(loss=Weights(label=1.0), cost=Weights(label=costs_of(head))))
    with torch.no_grad():
        said, wanted = ours.heads(batch.images, batch.sizes), peer.answer(batch)
    layers = {name: one for name, one in said.items() if name != PROPOSALS}
    theirs = [*wanted.auxiliary_outputs, {"logits": wanted.logits, "pred_boxes": wanted.pred_boxes}]
    found = {"scores": 0.0, "boxes": 0.0, "losses": 0.0, "answers": 0.0}
    for one, other in zip(layers.values(), theirs, strict=True):
        found["scores"] = max(found["scores"], relative(one.scores, other["logits"]))
        found["boxes"] = max(found["boxes"], relative(one.boxes, other["pred_boxes"]))
    targets = asked(batch)["labels"]
    for name, other in zip(layers, theirs, strict=True):
        taken = task.matched({MAIN: layers[name]}, {MAIN: batch})[MAIN]
        for i, (queries, objects) in enumerate(peer.matcher(other, targets)):
            assert taken[i, objects].tolist() == queries.tolist(), name
    if PROPOSALS not in said:
        mine = losses(task, batch)
        for name, value in wanted.loss_dict.items():
            if f"loss.dict.{name}" in mine:
                gap = relative(mine.pop(f"loss.dict.{name}"), value)
                found["losses"] = max(found["losses"], gap)
        total = mine.pop("loss.total")
        if mine:  # its loss is the last layer's alone
            assert all(name[-2:] in ("_0", "_1") for name in mine)
        else:
            found["losses"] = max(found["losses"], relative(total, wanted.loss))
    original = [(90, 70), (44, 61)]
    answers = ours.detect(batch.images, batch.sizes, original)
    done = peer.processor.post_process_object_detection(wanted, 0.0, original)
    for one, other in zip(answers, done, strict=True):
        assert torch.equal(one.labels, other["labels"])
        for what in ("scores", "boxes"):
            found["answers"] = max(found["answers"], relative(getattr(one, what), other[what]))
    return {**found, "gradients": slopes_apart(peer, ours, format_, batch)}


def costs_of(head):
    return 1.0 if isinstance(head, DETRConfig) else 2.0


def slopes_apart(peer, ours, format_, batch):
    """Return how far the gradients of all layers' answers are apart, in double precision."""
    ours.double(), peer.model.double()
    batch = batch._replace(images=batch.images.double(), boxes=batch.boxes.double())
    said, wanted = ours.heads(batch.images, batch.sizes), peer.answer(batch)
    theirs = [(one["logits"], one["pred_boxes"]) for one in wanted.auxiliary_outputs]
    theirs.append((wanted.logits, wanted.pred_boxes))
    mine = [(one.scores, one.boxes) for name, one in said.items() if name != PROPOSALS]
    for parts in (mine, theirs):
        flat = torch.cat([part.flatten() for pair in parts for part in pair])
        (flat * torch.linspace(-1, 1, len(flat), dtype=flat.dtype)).sum().backward()
    known = peer.model.state_dict(keep_vars=True)
    slopes = {name: p.grad for name, p in known.items() if p.grad is not None}
    wanted = format_.load(slopes, peer.pair[0])
    found = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    floor = NOISE * max(slope.abs().max().item() for slope in wanted.values())
    return max(
        relative(found[key], wanted[key]) for key in found if wanted[key].abs().max() > floor
    )
