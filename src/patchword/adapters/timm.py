"""timm's networks, each as a backbone."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.adapters.adapted import Adapted, Family, format_of
from patchword.data.frame import Frame
from patchword.errors import ConfigError, MissingExtra, suggest
from patchword.features import Features, Level, Tap, Trace
from patchword.layers import StochasticDepth, to_map
from patchword.weights import Format


@dataclass(frozen=True, kw_only=True)
class TimmConfig:
    """One of timm's networks."""

    name: str  # timm's, with a tag or without
    image_size: tuple[int, int]
    in_chans: int = 3
    drop_path_rate: float = 0.0

    def build(self) -> "TimmBackbone":
        """Make the backbone, with fresh weights."""
        return TimmBackbone(self)


def family_of(name: str) -> Family:
    """Return what timm says of a model.

    Raises:
        ConfigError: timm has none of that name.
        MissingExtra: timm is not installed.
    """
    timm = library()
    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        known = (f"timm:{there}" for there in timm.list_models())
        raise ConfigError(f"timm has no model {plain!r}; {suggest(f'timm:{plain}', known)}")
    tags = [there.partition(".")[2] for there in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"timm has no {name!r}; {suggest(tag, tags)}")
    about = timm.get_pretrained_cfg(name)
    channels, rows, columns = about.input_size
    config = TimmConfig(name=name, image_size=(rows, columns), in_chans=channels)
    frame = Frame(
        image_size=(rows, columns),
        crop=about.crop_pct,
        interpolation="bilinear" if about.interpolation == "bilinear" else "bicubic",
        mean=tuple(about.mean),
        std=tuple(about.std),
    )
    return Family({f"timm:{name}": config}, frame, partial(formats, config, about.classifier))


def formats(config: TimmConfig, classifier: Any) -> tuple[Format, ...]:
    """Return timm's own names, where a network has one classifier that is told from the rest."""
    if not isinstance(classifier, str):
        return ()
    with torch.device("meta"):
        net = made(config, num_classes=2)
    try:
        head = net.get_submodule(classifier)
    except AttributeError:
        return ()
    return (format_of("timm", net, classifier, convolves=isinstance(head, nn.Conv2d)),)


def library() -> ModuleType:
    """Import timm.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import timm
    except ImportError:
        raise MissingExtra(
            "timm's models need the library timm: pip install 'patchword[timm]'"
        ) from None
    return timm


def trained(name: str) -> dict[str, Tensor]:
    """Return timm's weights for a name, of its tag or of its best."""
    return library().create_model(name, pretrained=True).state_dict()


def terms(name: str) -> tuple[str | None, str]:
    """Return the licence of timm's weights for a name, and who says so."""
    about = library().get_pretrained_cfg(name)
    return about.license, f"timm, of {about.tag or name}"


def made(config: TimmConfig, *, num_classes: int = 0) -> nn.Module:
    """Return timm's network, with fresh weights and our stochastic depth.

    Raises:
        ConfigError: it cannot be made for this size, or has no stochastic depth.
    """
    timm, c = library(), config
    about = timm.get_pretrained_cfg(c.name)
    settings: dict[str, Any] = {}
    if c.drop_path_rate:
        settings["drop_path_rate"] = c.drop_path_rate
    if about.fixed_input_size and about.input_size[1:] != c.image_size:
        settings["img_size"] = c.image_size
    try:
        net = timm.create_model(c.name, num_classes=num_classes, in_chans=c.in_chans, **settings)
    except (TypeError, ValueError, AssertionError) as error:
        if not settings:
            raise
        asked = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise ConfigError(f"timm cannot make {c.name} with {asked}: {error}") from None
    for parent in list(net.modules()):
        for name, part in parent.named_children():
            if isinstance(part, timm.layers.DropPath):
                setattr(parent, name, StochasticDepth(part.drop_prob))
    return net


class TimmBackbone(Adapted):
    """timm's features, pooled as before its classifier; levels as timm lists them.

    `final` is what its `forward_features` returns, and the last level is not always another.
    """

    def __init__(self, config: TimmConfig) -> None:
        net: Any = made(config)
        about = library().get_pretrained_cfg(config.name)
        super().__init__(net, config, fixed=bool(about.fixed_input_size))
        levels = [
            Level(item["module"], item["num_chs"], (item["reduction"], item["reduction"]))
            for item in net.feature_info
        ]
        self.levels = (*levels, Level("final", net.num_features, levels[-1].stride))
        self.places = {level.name: place for place, level in enumerate(levels)}
        self.with_prefix = "return_prefix_tokens" in (
            inspect.signature(net.forward_intermediates).parameters
        )
        self.settle(net.head_hidden_size, "norm" if "norm" in dict(net.named_children()) else None)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are timm's feature modules, or `final`."""
        trace, net = Trace(self, taps), self.net
        self.check(images)
        if not taps:
            return trace.features(pooled(net, net.forward_features(images)))
        last = len(self.places) - 1
        wanted = {self.places[name] for name in taps if name != "final"}
        wanted |= {last} if "final" in taps else set()
        picked = sorted(wanted)
        if self.with_prefix:
            x, found = net.forward_intermediates(images, picked, return_prefix_tokens=True)
        else:
            x, found = net.forward_intermediates(images, picked)
        seen = {self.levels[place].name: level for place, level in zip(picked, found, strict=True)}
        for name, level in seen.items():
            if isinstance(level, Tensor):
                trace.map(name, level)
            elif name in taps:
                trace.seen[name] = Tap(*level)
        if "final" in taps:
            level = seen[self.levels[last].name]
            trace.seen["final"] = as_tap(x, level if isinstance(level, Tensor) else level[0])
        return trace.features(pooled(net, x))


def pooled(net: Any, x: Tensor) -> Float[Tensor, "b d"]:
    """Return what timm's classifier reads."""
    return net.forward_head(x, pre_logits=True).flatten(1)


def as_tap(x: Tensor, like: Float[Tensor, "b c h w"]) -> Tap:
    """Return features, in whichever order timm keeps them, as a map on another map's grid."""
    grid = tuple(like.shape[2:])
    if x.ndim == 3:
        return Tap(to_map(x, grid), x[:, : x.shape[1] - math.prod(grid)])
    cells = x if tuple(x.shape[2:]) == grid else x.permute(0, 3, 1, 2)
    return Tap(cells, cells.new_empty(len(cells), 0, cells.shape[1]))
