"""`python -m tests.text.graphs NAME ...`: what test files ship, in one graph and as programs.

A process of its own, as the tests' checks of shapes would be traced with the networks.
"""

import importlib
import sys

import torch


def main(names: list[str]) -> None:
    """Compile and export each; a graph break or another answer raises."""
    for name in names:
        for model, inputs in importlib.import_module(f"tests.text.test_{name}").shipped():
            torch._dynamo.reset()
            with torch.no_grad():
                wanted = model(*inputs)
                compiled = torch.compile(model, backend="eager", fullgraph=True)
                torch.testing.assert_close(compiled(*inputs), wanted)
                program = torch.export.export(model, inputs).module()
                torch.testing.assert_close(program(*inputs), wanted)
        print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
