"""`python -m tests.contract.graphs [NAME ...]`: tiny networks in one graph, and as programs.

A process of its own, as the tests' checks of shapes would be traced with the networks.
"""

import sys
from dataclasses import fields, replace

import torch
from torch import nn

from patchword.heads.classify import classifier
from tests.contract.tiny import CONFIGS, images, made


class Whole(nn.Module):
    """A classifier that answers with its scores and with every level of its backbone."""

    def __init__(self, model, levels):
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, images):
        pooled, taps = self.model.backbone(images, self.levels)
        return self.model.read(pooled), taps


def main(names: list[str]) -> None:
    """Compile and export each; a graph break or another answer raises."""
    for name in names:
        config = CONFIGS[name]
        backbone = made(shallow(config))
        model = classifier(backbone, 7).eval()
        for part in model.head.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight)
        batch, levels = images(config), (*backbone.pyramid(), "final")
        whole = Whole(model, levels)
        wanted = whole(batch)
        torch._dynamo.reset()
        found = torch.compile(whole, backend="eager", fullgraph=True)(batch)
        torch.testing.assert_close(found, wanted)
        program = torch.export.export(whole, (batch,)).module()
        torch.testing.assert_close(program(batch), wanted)
        print(f"{name}: one graph, exported", flush=True)


def shallow(config):
    """Return two blocks, where a config has a number of them."""
    there = {field.name for field in fields(config)}
    plain = "depth" in there and isinstance(config.depth, int)
    return replace(config, depth=2) if plain else config


if __name__ == "__main__":
    main(sys.argv[1:] or [*CONFIGS])
