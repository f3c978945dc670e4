"""torchvision's classification networks, each as a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from patchword.adapters.adapted import Adapted, Family, format_of
from patchword.data.frame import Frame
from patchword.errors import ConfigError, suggest
from patchword.features import Features, Level, Trace
from patchword.weights import Format

FIXED = ("vit_", "maxvit")  # they read images of one size
AUXILIARY = ("googlenet", "inception")  # they can have more classifiers, which we do not make


@dataclass(frozen=True, kw_only=True)
class TorchvisionConfig:
    """One of torchvision's networks."""

    name: str
    image_size: tuple[int, int]
    in_chans: int = 3

    def build(self) -> "TorchvisionBackbone":
        """Make the backbone, with fresh weights."""
        return TorchvisionBackbone(self)


def family_of(name: str) -> Family:
    """Return what torchvision says of a model, with the preprocessing of its newest weights.

    Raises:
        ConfigError: torchvision classifies with none of that name.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        names = (f"torchvision:{there}" for there in known)
        raise ConfigError(
            f"torchvision has no model {name!r}; {suggest(f'torchvision:{name}', names)}"
        )
    weights: Any = models.get_model_weights(name)
    about = weights.DEFAULT.transforms()
    side, resized = about.crop_size[0], about.resize_size[0]
    frame = Frame(
        image_size=(side, side),
        crop=side / resized,
        interpolation="bicubic" if about.interpolation.value == "bicubic" else "bilinear",
        mean=tuple(about.mean),
        std=tuple(about.std),
    )
    config = TorchvisionConfig(name=name, image_size=(side, side))
    return Family({f"torchvision:{name}": config}, frame, partial(formats, config))


def formats(config: TorchvisionConfig) -> tuple[Format, ...]:
    """Return torchvision's own names, where its classifier is a linear layer."""
    net = whole(config)
    place, head = classifier(net)
    if not isinstance(head, nn.Linear):
        return ()  # SqueezeNet's scores are means over a rectified map of them
    return (format_of("torchvision", net, place, convolves=False),)


def trained(name: str) -> dict[str, Tensor]:
    """Return torchvision's newest weights, without those of further classifiers."""
    from torchvision import models

    kind: Any = models.get_model_weights(name)
    tensors: dict[str, Tensor] = kind.DEFAULT.get_state_dict(progress=False, check_hash=True)
    further = ("aux", "AuxLogits")
    return {place: tensor for place, tensor in tensors.items() if not place.startswith(further)}


def terms(name: str) -> tuple[str | None, str]:
    """Return the licence of torchvision's newest weights, and who says so."""
    from torchvision import models

    weights: Any = models.get_model_weights(name)
    link = weights.DEFAULT.meta.get("license", "")
    said = f"torchvision, of {weights.DEFAULT.name}"
    return "cc-by-nc-4.0" if "/SWAG/" in link else None, f"{said}; {link}" if link else said


def whole(config: TorchvisionConfig) -> nn.Module:
    """Return torchvision's network with its classifier.

    Raises:
        ConfigError: it cannot be made for images of this size.
    """
    from torchvision import models

    c = config
    settings: dict[str, Any] = {}
    if c.name.startswith("vit_"):
        settings["image_size"] = c.image_size[0]
    elif c.name.startswith("maxvit"):
        settings["input_size"] = c.image_size
    elif c.name.startswith(AUXILIARY):
        settings |= {"aux_logits": False, "init_weights": True}
    if c.name.startswith(FIXED) and c.image_size[0] != c.image_size[1]:
        raise ConfigError(f"torchvision's {c.name} reads square images, not {c.image_size}")
    try:
        with torch.device("cpu"):  # RegNet works its sizes out with tensors
            net = models.get_model(c.name, weights=None, **settings)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(f"torchvision cannot make {c.name}: {error}") from None
    if c.in_chans != 3:
        place, first = of_kind(net, nn.Conv2d)[0]
        net.set_submodule(place, widened(first, c.in_chans))
    return net.to(torch.get_default_device())


Kind = TypeVar("Kind", bound=nn.Module)


def of_kind(net: nn.Module, kind: type[Kind]) -> list[tuple[str, Kind]]:
    """List the parts of a kind, and their places."""
    return [(place, part) for place, part in net.named_modules() if isinstance(part, kind)]


def widened(conv: nn.Conv2d, in_chans: int) -> nn.Conv2d:
    """Return a fresh convolution like another, for images of other channels."""
    made = nn.Conv2d(
        in_chans,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        conv.padding if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1]),
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def classifier(net: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return the last linear layer, or the last convolution where there is none, and its place."""
    linear = of_kind(net, nn.Linear)
    return linear[-1] if linear else of_kind(net, nn.Conv2d)[-1]


def levels_of(net: nn.Module, config: TorchvisionConfig) -> list[Level]:
    """Find the levels, by a run without arithmetic: blocks of tokens, or stages of maps.

    A stage is the last part, at most two names deep, that leaves a map of its resolution.
    """
    rows, columns = config.image_size
    seen: dict[str, tuple[int, ...]] = {}
    handles = [
        part.register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: tuple(out.shape)})
        )
        for name, part in net.named_modules()
        if name and name.count(".") < 3 and not isinstance(part, nn.AdaptiveAvgPool2d)
    ]
    tensors = [*net.named_parameters(), *net.named_buffers()]
    light = {name: tensor.to("meta") for name, tensor in tensors}
    images = torch.empty(1, config.in_chans, rows, columns, device="meta")
    functional_call(net.eval(), light, (images,))
    net.train()
    for handle in handles:
        handle.remove()
    blocks = [name for name in seen if name.startswith("encoder.layers.") and name.count(".") == 2]
    if blocks:
        step = round((rows * columns / (seen[blocks[0]][1] - 1)) ** 0.5)
        return [Level(name, seen[name][2], (step, step)) for name in blocks]
    stages: dict[int, Level] = {}
    for name, shape in seen.items():
        if len(shape) != 4 or name.count(".") > 1 or name.startswith("classifier"):
            continue
        last = channels_last(net, name)
        high, channels = (shape[1], shape[3]) if last else (shape[2], shape[1])
        step = round(rows / high)
        if high > 1:
            stages[step] = Level(name, channels, (step, step))
    return list(stages.values())


def channels_last(net: nn.Module, name: str) -> bool:
    """Tell whether a part leaves its map as (b h w c), as all of Swin's do but the last."""
    from torchvision.models.swin_transformer import SwinTransformer

    return isinstance(net, SwinTransformer) and name != "permute"


class Watch:
    """A hook that keeps what a part returns, while it is wanted.

    Hooks leave the parts what and where they are, which a graph traced out of them would not.
    """

    def __init__(self, name: str, wanted: set[str], seen: dict[str, Tensor]) -> None:
        self.name, self.wanted, self.seen = name, wanted, seen

    def __call__(self, part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the output."""
        if self.name in self.wanted:
            self.seen[self.name] = output


class TorchvisionBackbone(Adapted):
    """torchvision's features before its classifier, and the maps that lead to them."""

    def __init__(self, config: TorchvisionConfig) -> None:
        net = whole(config)
        place, head = classifier(net)
        net.set_submodule(place, nn.Identity())
        super().__init__(net, config, fixed=config.name.startswith(FIXED))
        levels = levels_of(net, config)
        self.levels = (*levels, replace(levels[-1], name="final"))
        self.tokens = levels[0].name.startswith("encoder.")
        step = (levels[0].stride or (1, 1))[0]
        self.grid = tuple(side // step for side in config.image_size)  # of tokens, which is fixed
        self.places = {level.name: level.name for level in levels}
        self.places["final"] = "encoder.ln" if self.tokens else levels[-1].name
        self.last = {name for name, part in self.places.items() if channels_last(net, part)}
        self.wanted: set[str] = set()
        self.seen: dict[str, Tensor] = {}
        for part in sorted({*self.places.values()}):
            net.get_submodule(part).register_forward_hook(Watch(part, self.wanted, self.seen))
        self.settle(head.weight.shape[1], "encoder.ln" if self.tokens else None)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are torchvision's modules, or `final`."""
        trace = Trace(self, taps)
        self.check(images)
        self.wanted.update(self.places[name] for name in taps)
        pooled = self.net(images)
        for name in taps:
            x = self.seen[self.places[name]]
            if self.tokens:
                trace.tokens(name, x, self.grid)
            else:
                trace.map(name, x.permute(0, 3, 1, 2) if name in self.last else x)
        self.wanted.clear()
        self.seen.clear()
        return trace.features(pooled)
