"""What heads of objects are tested by: their answers, losses and matching beside references'."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from patchword.heads.dense import MAIN
from patchword.heads.detector import PROPOSALS, Found, answers, corners
from patchword.heads.detr import DETRConfig
from patchword.heads.detr_panoptic import DETRPanopticConfig
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
    """Return two images, one of them padded, their objects, and rectangles as these' masks."""
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
    masks = torch.zeros(2, 3, rows, columns, dtype=torch.bool)
    for i in range(2):
        for k, box in enumerate(corners(boxes[i]) * sizes[i].flip(0).repeat(2)):
            left, top, right, bottom = box.round().int().tolist()
            masks[i, k, top:bottom, left:right] = labels[i, k] != NOTHING
    return Boxed(images, sizes, boxes, labels, torch.ones(2), masks)


def asked(batch):
    """Return a batch as transformers' networks take it."""
    mask = torch.zeros(batch.images[:, 0].shape, dtype=torch.long)
    labels = []
    for i, (rows, columns) in enumerate(batch.sizes.tolist()):
        mask[i, :rows, :columns] = 1
        there = batch.labels[i] != NOTHING
        labels.append(
            {
                "class_labels": batch.labels[i, there],
                "boxes": batch.boxes[i, there],
                "masks": batch.masks[i, there],
            }
        )
    return {"pixel_values": batch.images, "pixel_mask": mask, "labels": labels}


def steady(peer, batch):
    """Move every tensor of a reference away from where it starts; norms get a batch's statistics.

    So that signals keep their size in deep networks too.
    """
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in peer.model.state_dict(keep_vars=True).items():
            if tensor.is_floating_point() and not name.endswith("running_var"):
                far = 1.0 if "query_position" in name else 0.1 if tensor.ndim < 2 else 0.05
                tensor.add_(far * torch.randn(tensor.shape, generator=draw))
        norms = [m for m in peer.model.modules() if "running_var" in held(m)]
        handles = [norm.register_forward_pre_hook(settle) for norm in norms]
        peer.model.eval()
        peer.answer(batch)
    for handle in handles:
        handle.remove()
    peer.model.requires_grad_()


def held(module):
    """Name the buffers of a module itself."""
    return {name for name, _ in module.named_buffers(recurse=False)}


def settle(norm, given):
    """Let a norm that is called take the statistics of what it is given."""
    norm.running_mean.copy_(given[0].mean((0, 2, 3)))
    norm.running_var.copy_(given[0].var((0, 2, 3), correction=0))


def made_of(peer):
    """Return our network with a reference's weights, and their format."""
    return filled(
        peer.file, peer.format, "resnet", peer.pair, peer.model.state_dict(), peer.classes
    )


def sets_apart(peer):
    """Return how far ours is from a reference, by what is compared; and the layers matched alike.

    The errors are those of `scores` and `boxes` of all layers, of `masks`, of the losses by their
    names as in `loss box`, of `answers` in a picture's pixels, and of `gradients`.
    """
    config, head = peer.pair
    given = batch = sample(config, peer.classes)
    if not isinstance(head, DETRPanopticConfig):
        batch = batch._replace(masks=None)
    steady(peer, given)
    ours, format_ = made_of(peer)
    task = Detect(ours, Detection(loss=Weights(label=1.0), cost=Weights(label=costs_of(head))))
    with torch.no_grad():
        said, wanted = ours.heads(batch.images, batch.sizes), peer.answer(given)
    layers = {name: one for name, one in said.items() if name != PROPOSALS}
    last = {"logits": wanted.logits, "pred_boxes": wanted.pred_boxes}
    theirs = [*wanted.auxiliary_outputs, last]
    found = {"scores": 0.0, "boxes": 0.0}
    for one, other in zip(layers.values(), theirs, strict=True):
        found["scores"] = max(found["scores"], relative(one.scores, other["logits"]))
        found["boxes"] = max(found["boxes"], relative(one.boxes, other["pred_boxes"]))
    if said[MAIN].masks is not None:
        found["masks"] = relative(said[MAIN].masks, wanted.pred_masks)
    for name, other in zip(layers, theirs, strict=True):
        taken = task.matched({MAIN: layers[name]}, {MAIN: batch})[MAIN]
        for i, (queries, objects) in enumerate(peer.matcher(other, asked(given)["labels"])):
            assert taken[i, objects].tolist() == queries.tolist(), name
    found |= losses_apart(losses(task, batch), wanted, proposing=PROPOSALS in said)
    original, padded = [(90, 70), (44, 61)], tuple(batch.images.shape[2:])
    last = Found(wanted.logits, wanted.pred_boxes)  # theirs, as near ties may fall either way
    mine = answers(ours.head, last, padded, [tuple(row) for row in batch.sizes.tolist()], original)
    done = peer.processor.post_process_object_detection(wanted, 0.0, original)
    found["answers"] = 0.0
    for one, other in zip(mine, done, strict=True):
        assert torch.equal(one.labels, other["labels"])
        for what in ("scores", "boxes"):
            found["answers"] = max(found["answers"], relative(getattr(one, what), other[what]))
    slopes = slopes_apart(peer, ours, format_, batch, given)
    return {**found, "gradients": slopes, "matched": len(layers)}


def losses_apart(mine, wanted, *, proposing):
    """Return how far losses are apart by what they are of, over all layers that theirs has.

    Args:
        mine: ours, under the authors' names.
        wanted: their answer.
        proposing: the network has two stages, of which theirs has the losses of the second alone.
    """
    found = {}
    for what, name in LOSSES.items():
        both = [n for n in wanted.loss_dict if n.startswith(name) and f"loss.dict.{n}" in mine]
        gaps = [relative(mine.pop(f"loss.dict.{n}"), wanted.loss_dict[n]) for n in both]
        if gaps:
            found[f"loss {what}"] = max(gaps)
    total = mine.pop("loss.total")
    if not mine:
        found["loss total"] = relative(total, wanted.loss)
    else:  # theirs is the last layer's alone, or without that of proposals
        assert proposing or all(name.rpartition("_")[2].isdecimal() for name in mine)
    return found


def costs_of(head):
    return 1.0 if isinstance(head, DETRConfig) else 2.0


def slopes_apart(peer, ours, format_, batch, given):
    """Return how far the gradients of all layers' answers are apart, in double precision."""
    ours.double(), peer.model.double()
    batch, given = (
        one._replace(images=one.images.double(), boxes=one.boxes.double()) for one in (batch, given)
    )
    said, wanted = ours.heads(batch.images, batch.sizes), peer.answer(given)
    theirs = [(one["logits"], one["pred_boxes"]) for one in wanted.auxiliary_outputs]
    theirs.append((wanted.logits, wanted.pred_boxes))
    mine = [(one.scores, one.boxes) for name, one in said.items() if name != PROPOSALS]
    if said[MAIN].masks is not None:
        mine.append((said[MAIN].masks,))
        theirs.append((wanted.pred_masks,))
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
