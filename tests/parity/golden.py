"""One golden: reference tensors that the authors' own code made.

A golden is three files: NAME.json says how the network was made and how close to come,
NAME.io.safetensors holds `in.*` and `out.*`, and NAME.safetensors (or NAME.npz, for the JAX code)
the weights; or the JSON has the recipe from which they are rebuilt.
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from patchword import models
from patchword.heads.classify import classifier
from patchword.weights import Format, fill
from patchword.weights.formats import Tensors


@dataclass(frozen=True)
class Golden:
    """One golden, read when it is asked for."""

    folder: Path
    name: str

    def path(self, ending: str) -> Path:
        return self.folder / f"{self.name}{ending}"

    @cached_property
    def about(self) -> dict[str, Any]:
        return json.loads(self.path(".json").read_text(encoding="utf-8"))

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments of the authors' constructor."""
        return self.about["kwargs"] if "kwargs" in self.about else self.about["config"]

    @cached_property
    def held(self) -> dict[str, torch.Tensor]:
        """Inputs and outputs."""
        if "held" in self.about:
            return {name: torch.tensor(values) for name, values in self.about["held"].items()}
        return load_file(self.path(".io.safetensors"))

    @cached_property
    def image(self) -> torch.Tensor:
        """The input (b c h w); some are stored channels last, most of them in bytes."""
        if "recipe" in self.about and not any(name.startswith("in.image") for name in self.held):
            pixels = 51 * noise(self.about["seed"], "in.image", self.about["inputs"]["image"]) + 128
            return (torch.from_numpy(pixels).round().clamp(0, 255).float() - 128) / 64
        name = next(name for name in self.held if name.startswith(("in.image", "in.x")))
        found = self.held[name]
        found = found.permute(0, 3, 1, 2) if name.endswith("nhwc") else found
        return (found.float() - 128) / 64 if found.dtype == torch.uint8 else found

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """The authors' tensors under their names."""
        if "recipe" in self.about:
            return rebuilt(self.about)
        if self.path(".safetensors").exists():
            return load_file(self.path(".safetensors"))
        with np.load(self.path(".npz"), allow_pickle=False) as arrays:
            return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @property
    def wanted(self) -> dict[str, torch.Tensor]:
        """The outputs by name; where there is no input, they are held under these names alone."""
        return {n.removeprefix("out."): t for n, t in self.held.items() if not n.startswith("in.")}


def noise(seed: int, key: str, shape: list[int]) -> np.ndarray:
    """Draw standard normal numbers as the goldens' formula does, a generator per tensor."""
    draw = np.random.RandomState(crc32(f"{seed}/{key}".encode()))
    return np.asarray(draw.standard_normal(shape))


def rebuilt(about: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Rebuild weights from their recipe: per tensor a distribution, two numbers and a shape.

    They are those of the golden, or the checksum of their bytes is another.
    """
    arrays = {key: made(about["seed"], key, *draw) for key, draw in about["recipe"].items()}
    found = checksum(arrays)
    assert found == about["weights_crc32"], f"{about['name']}: the weights are not the golden's"
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def made(seed: int, key: str, kind: str, centre: float, spread: float, shape: list[int]):
    """Make one tensor of a recipe."""
    match kind:
        case "normal":
            return (centre + spread * noise(seed, key, shape)).astype(np.float32)
        case "lognormal":
            return (centre * np.exp(spread * noise(seed, key, shape))).astype(np.float32)
        case "const":  # counts and indices
            return np.full(shape, centre).astype(np.int64)
        case _:
            raise ValueError(f"no distribution is called {kind!r}")


def checksum(arrays: dict[str, np.ndarray]) -> int:
    """Return the CRC-32 of all arrays' bytes, in order of their names."""
    found = 0
    for key in sorted(arrays):
        found = crc32(arrays[key].tobytes(), found)
    return found


Reader = Callable[[Golden], dict[str, torch.Tensor]]


def num_classes(golden: Golden) -> int:
    """Return the number of scores, as most of the authors call it."""
    return golden.kwargs["num_classes"]


def of_classifier(
    family: str,
    format_name: str,
    config: Callable[[Golden], Any],
    classes: Callable[[Golden], int] = num_classes,
) -> Reader:
    """Return the reader of goldens whose output is a classifier's logits.

    Args:
        family: whose FORMATS has the format of the golden's weights.
        format_name: its name.
        config: makes our config from the authors' arguments.
        classes: finds the number of scores among them.
    """

    def read(golden: Golden) -> dict[str, torch.Tensor]:
        settings = config(golden)
        model = classifier(settings.build(), classes(golden))
        module = importlib.import_module(f"{models.__name__}.{family}")
        formats = {f.name: f for f in module.FORMATS}
        fill(model, formats[format_name].load(golden.weights, settings))
        return {"logits": model.eval()(golden.image)}

    return read


def layer_of(format_: Format, layer: nn.Module, weights: Tensors, theirs: str, ours: str) -> None:
    """Fill a layer that stands by itself, by the names that it has within a network.

    Args:
        format_: of the network.
        layer: is changed in place.
        weights: of the authors' layer, under its own names.
        theirs: what would stand before them in their network.
        ours: what would stand before ours in our backbone.
    """
    found = format_.load({f"{theirs}{name}": tensor for name, tensor in weights.items()})
    fill(layer, {n.removeprefix(f"backbone.{ours}"): tensor for n, tensor in found.items()})
