"""Which cells speak for a class: by gradients through attention, and through any map of features.

`relevance` is the transformer attribution of Chefer, Gur & Wolf 2021 (arXiv:2103.15679, section
3.1, self-attention), `gradcam` is Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391, section 3) on
the cells of any level. Fused kernels stay: an operator's output is linear in its values, so the
gradient of its weights is the output's gradient times the values.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from patchword.errors import ConfigError
from patchword.features import Tap
from patchword.heads.classify import Classifier
from patchword.inspection.attention import ends_on_cells, settled
from patchword.inspection.drawn import Heat, drawn
from patchword.inspection.rollout import swept
from patchword.inspection.watch import AttentionMap, Visit, visits
from patchword.layers import to_map

FINE = 4  # cells a side, of which a picture can be made out

Attribution = Callable[
    [Classifier, Float[Tensor, "b c h w"], Int[Tensor, " b"]], Float[Tensor, "b rows columns"]
]


def scores(
    model: Classifier, pooled: Float[Tensor, "b d"], targets: Int[Tensor, " b"] | None
) -> Float[Tensor, " b"]:
    """Return each image's logit of its target, or its largest where there are none."""
    logits = torch.stack(list(model.read(pooled).values())).mean(0)
    targets = logits.argmax(1) if targets is None else targets
    return logits.gather(1, targets[:, None])[:, 0]


@torch.no_grad()
def predicted(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Int[Tensor, " b"]:
    """Return the class that a model gives each image."""
    with settled(model):
        return model(images).argmax(1)


def relevance(
    model: Classifier,
    images: Float[Tensor, "b c h w"],
    targets: Int[Tensor, " b"] | None = None,
) -> Float[Heat, "b rows columns"] | None:
    """Return the relevance of each cell to a class: gradient-weighted attention of all layers.

    Each layer's map is the mean over heads of weights times their gradient, what is below 0 left
    out; a token is itself and what it attended to (R + A R), from the first layer to the last. As
    in `rollout` one row is carried back. Attention inside patches, and operators that are not
    linear in their values, are passed over.

    Args:
        model: a classifier; it runs in evaluation mode, its parameters' gradients are untouched.
        images: as the model reads them.
        targets: a class per image; the predicted ones if None.

    Returns:
        0 and more, comparable within an image only. Where an answer is a mean over cells, each
        cell's own share in that mean is left out: it is the same for all, and hides the rest. None
        where nothing attends between cells, or the tokens that are read are no cells.
    """
    found: dict[int, AttentionMap] = {}  # by depth; gradients arrive from the last layer on
    depth, handles = count(), list[RemovableHandle]()

    def see(_: str, visit: Visit) -> None:
        if visit.operator.linear and not visit.layout.in_batch:
            handles.append(visit.output.register_hook(partial(arrived, next(depth), visit)))

    @torch.no_grad()
    def arrived(place: int, visit: Visit, gradient: Tensor) -> None:
        weights = visit.operator.weights(*visit.inputs)
        placed = visit.placed((weights * (gradient @ visit.inputs[2].mT)).clamp(min=0))
        found[place] = placed._replace(weights=placed.weights.mean(2, keepdim=True))

    backbone = model.backbone
    if not ends_on_cells(backbone):
        return None
    leaf = images.detach().requires_grad_()
    with settled(model), torch.enable_grad(), visits(backbone, see):
        total = scores(model, backbone(leaf).pooled, targets).sum()
        torch.autograd.grad(total, leaf)
    for handle in handles:  # each holds the tensor that holds it
        handle.remove()
    maps = [found[place] for place in sorted(found)]
    if not maps:
        return None
    whole, own = (swept(maps, backbone.class_tokens, 1.0, take) for take in (1.0, 0.0))
    return drawn(Heat, (whole - own).clamp(min=0))


def gradcam(
    model: Classifier,
    images: Float[Tensor, "b c h w"],
    targets: Int[Tensor, " b"] | None = None,
    level: str | None = None,
) -> Float[Heat, "b rows columns"]:
    """Return how much each cell of a level speaks for a class: Grad-CAM, for every family.

    Channels are weighed by the mean over cells of the logit's gradient and summed; what is below 0
    speaks against the class and is 0.

    Args:
        model: a classifier; it runs in evaluation mode, its parameters' gradients are untouched.
        images: as the model reads them.
        targets: a class per image; the predicted ones if None.
        level: by name; if None the deepest of `FINE` cells a side or more whose cells the answer
            depends on, and where none is so fine, the deepest: where a class token is read, the
            last but one.

    Raises:
        ConfigError: no level has cells that the answer depends on, or not the named one.
    """
    backbone = model.backbone
    names = [found.name for found in backbone.levels if found.stride is not None]
    if level is None:
        names = [name for name in names if name != "final"]
    else:
        backbone.level(level)
        names = [name for name in names if name == level]
    seen = sloped(model, images, targets, names)
    found = [
        (tap.map.detach(), slopes)
        for tap, gradient in seen
        if gradient is not None and (slopes := as_map(gradient, tap)).any()
    ]
    if found:
        fine = [pair for pair in found if min(pair[0].shape[2:]) >= FINE]
        cells, slopes = (fine or found)[-1]
        weights = slopes.mean((2, 3), keepdim=True)
        return drawn(Heat, (weights * cells).sum(1).clamp(min=0))
    if not names:
        raise ConfigError("no level has a grid of cells to draw: the tokens lie on a line")
    if not seen:
        raise ConfigError(
            f"{type(backbone).__name__} shows its levels beside the path of gradients: Grad-CAM "
            "needs one of our networks"
        )
    where = "any level" if level is None else f"level {level!r}"
    raise ConfigError(f"the answer depends on no cells of {where}: name an earlier level")


def sloped(
    model: Classifier,
    images: Float[Tensor, "b c h w"],
    targets: Int[Tensor, " b"] | None,
    names: Sequence[str],
) -> list[tuple[Tap, Tensor | None]]:
    """Return the levels that the network goes on with, and the logit's gradient at each.

    A gradient is none where the logit does not depend on the level.
    """
    leaf = images.detach().requires_grad_()
    with settled(model), torch.enable_grad():
        features = model.backbone(leaf, taps=names)
        taps = [tap for tap in features.taps if tap.source is not None]
        sources = [tap.source for tap in taps if tap.source is not None]
        if not sources:
            return []
        total = scores(model, features.pooled, targets).sum()
        gradients = torch.autograd.grad(total, sources, allow_unused=True)
    return list(zip(taps, gradients, strict=True))


def as_map(gradient: Tensor, tap: Tap) -> Float[Tensor, "b c rows columns"]:
    """Lay the gradient at what the network goes on with out as the tap's map is."""
    return gradient if gradient.ndim == 4 else to_map(gradient, tuple(tap.map.shape[2:]))
