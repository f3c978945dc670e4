"""The family that docs/adding-a-family.md walks through keeps the contract, as it stands there."""

import re
import sys
from inspect import signature
from pathlib import Path
from types import ModuleType

import pytest
import torch

from patchword.heads.classify import classifier
from tests.contract import test_attention, test_features, test_layout, test_spine, test_value
from tests.contract.tiny import made

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-family.md"
MODULES = (test_attention, test_features, test_layout, test_spine, test_value)
PROMISES = [
    held
    for module in MODULES
    for name, held in vars(module).items()
    if name.startswith("test_") and "config" in signature(held).parameters
]


def run(name, code):
    """Run what the page shows of a file, as the module that it would be."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, str(PAGE), "exec"), vars(module))
    return module


@pytest.fixture(scope="module")
def files():
    """Return the family and its proof."""
    text = PAGE.read_text(encoding="utf-8")
    first, second = (re.findall(r"```python\n(.*?)```", p, re.DOTALL) for p in text.split("## 2."))
    names = ("patchword.models.pooling", "tests.families.pooling")
    yield tuple(map(run, names, ("\n".join(first), second[0])))
    for name in names:
        del sys.modules[name]


@pytest.mark.parametrize("config", ["page"])
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_its_example_keeps_the_contract(promise, config, files, request):
    _, proof = files
    (tiny,) = proof.TINY.values()
    given = {"config": tiny, "backbone": made(tiny), "request": request}
    promise(**{name: given[name] for name in signature(promise).parameters})


def test_its_format_names_every_tensor(files):
    family, proof = files
    (tiny,) = proof.TINY.values()
    (format_,), ours = family.FORMATS, classifier(tiny.build(), 5).state_dict()
    back = format_.load(format_.save(ours))
    assert back.keys() == ours.keys() and all(torch.equal(back[n], t) for n, t in ours.items())
    assert family.CLAIMS.keys() <= family.VARIANTS.keys() >= proof.QUICK.keys()
