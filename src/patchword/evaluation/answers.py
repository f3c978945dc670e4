"""What a model says of the pictures of a source, and what it sees in them."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.data import EvalBatches, Frame, Kind, Source, loader
from patchword.errors import ConfigError, DataError, ImageError
from patchword.features import Backbone
from patchword.predictor import Card, normalise

Tokens = Literal["pooled", "mean", "last4"]
"""What a probe reads: what the model's own head does, the mean over the last map's cells, or the
class tokens of the last four blocks, each through the last norm (DINO's linear evaluation)."""


KNOWN: Mapping[Kind, str] = {
    "class": "a class",
    "labels": "labels",
    "shares": "shares of the classes",
    "values": "values",
    "mask": "a mask",
    "objects": "objects",
    "panoptic": "segments",
    "depth": "depths",
}
"""What there is of each picture, in words."""


class Answers(NamedTuple):
    """What a model says of the pictures of a source."""

    logits: Float[Tensor, "n classes"]
    labels: Int[Tensor, " n"]
    indices: Int[Tensor, " n"]  # the pictures' numbers in the source
    unreadable: tuple[str, ...]  # what is wrong with each of the others
    targets: Float[Tensor, "n classes"] | None = None  # where labels do not say all


def scores(
    model: nn.Module, source: Source, preprocessing: Frame, *, batch_size: int = 256
) -> Answers:
    """Answer every picture of a source that can be read."""
    return looked(model, source, preprocessing, model, batch_size=batch_size)


@torch.inference_mode()
def looked(
    network: nn.Module,
    source: Source,
    preprocessing: Frame,
    look: Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b d"]],
    *,
    batch_size: int = 256,
) -> Answers:
    """Look at every picture of a source that can be read.

    Args:
        network: whose weights say where to compute.
        source: of the pictures.
        preprocessing: how they are framed and normalised.
        look: makes a row of numbers of each normalised picture: `Answers.logits`.
        batch_size: pictures at a time.
    """
    where = next(network.parameters()).device
    batches = EvalBatches(source, frame=preprocessing, batch_size=batch_size)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in loader(batches, start=0, stop=len(batches)):
        rows = look(normalise(batch.images.to(where), preprocessing)).float().cpu()
        kept = batch.weights > 0
        found.append((rows[kept], batch.labels[kept], batch.indices[kept]))
    rows, labels, indices = (torch.cat(parts) for parts in zip(*found, strict=True))
    unread = sorted(set(range(len(source))) - set(indices.tolist()))
    targets = None if source.targets is None else torch.from_numpy(source.targets)[indices]
    return Answers(rows, labels, indices, tuple(reason(source, i) for i in unread), targets)


def reason(source: Source, index: int) -> str:
    """Say why a picture cannot be read, or what is known of it."""
    try:
        source.read(index)
        source.scene(index)
    except ImageError as error:
        return str(error)
    return f"{source.name(index)} could not be read a moment ago"


def reader(
    backbone: Backbone, tokens: Tokens
) -> Callable[[Float[Tensor, "b c h w"]], Float[Tensor, "b d"]]:
    """Return what turns normalised pictures into the features that a probe reads.

    Raises:
        ConfigError: the network has no such tokens.
    """
    if tokens == "pooled":
        return lambda images: backbone(images).pooled
    if tokens == "mean":
        return lambda images: backbone(images, taps=("final",)).taps[0].map.flatten(2).mean(dim=2)
    names = [level.name for level in backbone.levels if level.name != "final"][-4:]
    if len({level.channels for level in backbone.levels if level.name in names}) > 1:
        raise ConfigError("tokens=last4 wants four last blocks of one width; use tokens=pooled")

    def class_tokens(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        taps = backbone(images, taps=names).taps
        if taps[-1].prefix.shape[1] == 0:
            raise ConfigError("tokens=last4 wants a class token, and there is none: use pooled")
        return torch.cat([backbone.norm(tap.prefix)[:, 0] for tap in taps], dim=1)

    return class_tokens


def aligned(found: Answers, source: Source, card: Card) -> Answers:
    """Return answers with what is known of the pictures as the model numbers it.

    Raises:
        DataError: the data has something else of its pictures than the model answers, or classes
            that it does not know; or it lacks one of the model's values.
    """
    if source.kind != card.kind and not {source.kind, card.kind} <= {"class", "shares"}:
        raise DataError(
            f"the data has {KNOWN[source.kind]} of each picture, the model answers with "
            f"{KNOWN[card.kind]}; name data of that kind"
        )
    return found._replace(
        labels=relabelled(found.labels, source, card),
        targets=None if found.targets is None else rearranged(found.targets, source, card),
    )


def rearranged(
    targets: Float[Tensor, "n known"], source: Source, card: Card
) -> Float[Tensor, "n classes"]:
    """Return targets with a column for each class of the model: 0 where the data has none.

    Raises:
        DataError: it is a value of which the data says nothing.
    """
    if card.classes is None or card.classes == source.classes:
        return targets
    absent = [name for name in card.classes if name not in source.classes]
    if absent and card.kind == "values":
        raise DataError(f"the data has no {absent[0]}, which the model answers; add that column")
    found = targets.new_zeros(len(targets), len(card.classes))
    found[:, [card.classes.index(name) for name in source.classes]] = targets
    return found


def relabelled(labels: Int[Tensor, " n"], source: Source, card: Card) -> Int[Tensor, " n"]:
    """Return labels as the model numbers them.

    Raises:
        DataError: the data has classes that the model does not know.
    """
    if card.classes is None or card.classes == source.classes:
        return labels
    strange = [name for name in source.classes if name not in card.classes]
    if strange:
        raise DataError(
            f"the model does not know the classes {', '.join(strange[:8])}; "
            f"it knows {', '.join(card.classes[:8])}{', ...' if len(card.classes) > 8 else ''}"
        )
    numbers = np.array([card.classes.index(name) for name in source.classes])
    return torch.from_numpy(numbers)[labels]
