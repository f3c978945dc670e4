"""`python -m tests.contract.graphs compiled|exported NAME ...`: tiny networks as graphs.

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


def compiled(whole, batch):
    """Return it in one graph; a break of the graph raises."""
    torch._dynamo.reset()
    return torch.compile(whole, backend="eager", fullgraph=True)


def exported(whole, batch):
    """Return it as a program."""
    return torch.export.export(whole, (batch,)).module()


def main(form: str, *names: str) -> None:
    """Compile or export each; another answer than the network's raises."""
    for name in names:
        config = CONFIGS[name]
        backbone = made(shallow(config))
        model = classifier(backbone, 7).eval()
        for part in model.head.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight)
        batch, levels = images(config), (*backbone.pyramid(), "final")
        whole = Whole(model, levels)
        graph = {"compiled": compiled, "exported": exported}[form](whole, batch)
        torch.testing.assert_close(graph(batch), whole(batch))
        print(f"{name}: {form}", flush=True)


def shallow(config):
    """Return two blocks, where a config has a number of them."""
    there = {field.name for field in fields(config)}
    plain = "depth" in there and isinstance(config.depth, int)
    return replace(config, depth=2) if plain else config


if __name__ == "__main__":
    main(*sys.argv[1:])
