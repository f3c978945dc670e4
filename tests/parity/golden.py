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

from patchword import models
from patchword.heads.classify import classifier
from patchword.weights import fill


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
        return load_file(self.path(".io.safetensors"))

    @cached_property
    def image(self) -> torch.Tensor:
        """The input (b c h w); some are stored channels last, most of them in bytes."""
        if "recipe" in self.about and not any(name.startswith("in.image") for name in self.held):
            return drawn(self.about["seed"], "in.image", self.about["inputs"]["image"])
        name = next(name for name in self.held if name.startswith(("in.image", "in.x")))
        found = self.held[name]
        found = found.permute(0, 3, 1, 2) if name.endswith("nhwc") else found
        return (found.float() - 128) / 64 if found.dtype == torch.uint8 else found

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """The authors' tensors under their names."""
        if self.path(".safetensors").exists():
            return load_file(self.path(".safetensors"))
        with np.load(self.path(".npz"), allow_pickle=False) as arrays:
            return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @property
    def wanted(self) -> dict[str, torch.Tensor]:
        """The outputs by name; where there is no input, they are held under these names alone."""
        return {n.removeprefix("out."): t for n, t in self.held.items() if not n.startswith("in.")}


def drawn(seed: int, key: str, shape: list[int]) -> torch.Tensor:
    """Draw a standard normal tensor as the goldens' formula does."""
    draw = np.random.RandomState(crc32(f"{seed}/{key}".encode()))
    return torch.from_numpy(draw.standard_normal(shape).astype(np.float32))


Reader = Callable[[Golden], dict[str, torch.Tensor]]


def of_classifier(family: str, format_name: str, config: Callable[[Golden], Any]) -> Reader:
    """Return the reader of goldens whose output is a classifier's logits.

    Args:
        family: whose FORMATS has the format of the golden's weights.
        format_name: its name.
        config: makes our config from the authors' arguments.
    """

    def read(golden: Golden) -> dict[str, torch.Tensor]:
        model = classifier(config(golden).build(), golden.kwargs["num_classes"])
        module = importlib.import_module(f"{models.__name__}.{family}")
        formats = {f.name: f for f in module.FORMATS}
        fill(model, formats[format_name].load(golden.weights))
        return {"logits": model.eval()(golden.image)}

    return read
