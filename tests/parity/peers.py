"""timm's and transformers' models, and ours, read alike: logits, every level, every gradient.

All three look at one batch with one set of weights. The weights are timm's, every tensor moved
away from its start; ours come from them by `Format.load`, transformers' from ours by
`Format.save`, so both directions of each converter are part of what is compared.
"""

from dataclasses import dataclass, replace
from zlib import crc32

import torch
from torch import nn

from patchword import models
from patchword.config import dump
from patchword.errors import ConfigError
from patchword.features import Tap
from patchword.heads.classify import classifier
from patchword.layers import to_map
from patchword.weights import fill
from patchword.weights.configs import to_transformers
from patchword.weights.plain import FORMATS

FORMAT = {format.name: format for format in FORMATS}
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a network makes of a batch: numbers to compare, named as ours."""

    logits: torch.Tensor
    taps: dict[str, Tap]
    gradients: dict[str, torch.Tensor]


def images(config, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, config.in_chans, *config.image_size, generator=generator)


def perturbed(model, name):
    """Move every tensor of a model, so that none has a value by which it could be overlooked."""
    generator = torch.Generator().manual_seed(crc32(name.encode()))
    with torch.no_grad():
        for tensor in model.parameters():
            scale = 0.1 if tensor.ndim == 1 else 0.02
            tensor += scale * torch.randn(tensor.shape, generator=generator)
    return model


def gradients(model, logits):
    """Return the gradients of a random combination of the logits."""
    generator = torch.Generator().manual_seed(1)
    (logits * torch.randn(logits.shape, generator=generator)).sum().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return found


def split(tokens, grid):
    prefix = tokens.shape[1] - grid[0] * grid[1]
    return Tap(to_map(tokens, grid), tokens[:, :prefix])


class Ours:
    """A classifier of ours, with the weights of a timm model."""

    def __init__(self, config, weights):
        self.model = classifier(config.build(), CLASSES).eval()
        fill(self.model, FORMAT["timm"].load(weights))

    def look(self, batch):
        names = [level.name for level in self.model.backbone.levels]
        with torch.no_grad():
            taps = self.model.backbone(batch, taps=names).taps
        logits = self.model(batch)
        return Sight(
            logits=logits.detach(),
            taps=dict(zip(names, taps, strict=True)),
            gradients=gradients(self.model, logits),
        )


class Timm:
    """timm's model of a name."""

    label = "timm"

    def __init__(self, name, config):
        self.model = perturbed(self.build(name, config, num_classes=CLASSES), name).eval()

    @staticmethod
    def build(name, config, *, num_classes):
        import timm

        size = {"img_size": config.image_size, "depth": config.depth}
        return timm.create_model(name, num_classes=num_classes, **size)

    def look(self, batch):
        tokens, levels = self.model.forward_intermediates(batch, return_prefix_tokens=True)
        logits = self.model.forward_head(tokens)
        taps = {
            f"blocks.{i}": Tap(*(part.detach() for part in level))
            if isinstance(level, tuple)
            else Tap(level.detach(), tokens[:, :0].detach())
            for i, level in enumerate(levels)
        }
        grid = tuple(taps["blocks.0"].map.shape[2:])
        return Sight(
            logits=logits.detach(),
            taps={**taps, "final": split(tokens.detach(), grid)},
            gradients=FORMAT["timm"].load(gradients(self.model, logits)),
        )


class Transformers:
    """transformers' network of a configuration, with weights under our names."""

    label = "transformers"

    def __init__(self, config, weights):
        distilled = "distillation" in config.prefix
        self.format = FORMAT["transformers in memory" + " distilled" * distilled]
        self.patch_size = config.patch_size
        self.model = self.build(config, num_classes=CLASSES).eval()
        self.model.load_state_dict(self.format.save(weights))

    @staticmethod
    def build(config, *, num_classes):
        """Make their model.

        Raises:
            ConfigError: they have none with these parts.
        """
        names = tuple(f"class {i}" for i in range(num_classes))
        distilled = "distillation" in config.prefix
        theirs = to_transformers(dump(config), names, distilled=distilled)

        import transformers

        (kind,) = theirs["architectures"]
        return getattr(transformers, kind)(transformers.AutoConfig.for_model(**theirs))

    def look(self, batch):
        final: list[torch.Tensor] = []
        norm: nn.Module = self.model.base_model.layernorm
        handle = norm.register_forward_hook(lambda *call: final.append(call[-1].detach()))
        output = self.model(batch, output_hidden_states=True)
        handle.remove()
        grid = tuple(side // self.patch_size for side in batch.shape[2:])
        levels = {f"blocks.{i}": x.detach() for i, x in enumerate(output.hidden_states[1:])}
        taps = {name: split(x, grid) for name, x in {**levels, "final": final[0]}.items()}
        return Sight(
            logits=output.logits.detach(),
            taps=taps,
            gradients=self.format.load(gradients(self.model, output.logits)),
        )


def has_transformers(config):
    """Tell whether transformers' ViT or DeiT is this network."""
    try:
        with torch.device("meta"):
            Transformers.build(replace(config, depth=1), num_classes=1)
    except ConfigError:
        return False
    return True


def parameters(name, label):
    """Count a reference's parameters and ours at full size, without memory for them."""
    config = models.config(name)
    with torch.device("meta"):
        ours = classifier(config.build(), 1000)
        if label == "timm":
            theirs = Timm.build(name, config, num_classes=1000)
        else:
            theirs = Transformers.build(config, num_classes=1000)
    ours, theirs = (sum(p.numel() for p in m.parameters()) for m in (ours, theirs))
    return ours, theirs
