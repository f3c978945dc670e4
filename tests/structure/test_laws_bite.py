"""Each law is broken in a small made-up package, and its check finds that and nothing else."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

from tests.structure import code, house, parts, tables
from tests.structure.committed import mentions
from tests.structure.laws import LAWS

Law = Callable[[Path], list[str]]

PAPER = '"""A.\n\nPaper      P\nReference  R\nDepartures none\n"""\n'
SOUND = {  # keeps every law, and comes close to breaking each
    "__init__.py": '''
        """P."""
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from patchword.api import train as train
            from patchword.errors import Wrong as Wrong
        _HOMES = {"Wrong": "patchword.errors", "train": "patchword.api"}
        ''',
    "errors.py": '"""E."""\nclass Wrong(Exception):\n    """W."""\n',
    "api.py": '''
        """A."""
        import re
        from patchword.engine.loop import fit

        WORD = re.compile("a")

        def train(data: str, *, quick: bool = False) -> None:
            """Train.

            Args:
                data: a folder.
                quick: whether to hurry.
            """
            import patchword.models.deit

        def _stage(**settings: int) -> None: ...
        ''',
    "cli.py": '"""C."""\nVERBS = ("train",)\n',
    "data/__init__.py": '"""D."""\n',
    "data/rows.py": '''
        """R."""
        import torch
        def read() -> None:
            """R."""
            import pyarrow
        ''',
    "engine/loop.py": '''
        """L."""
        from dataclasses import dataclass
        from typing import TYPE_CHECKING
        from patchword.layers.block import Mask
        from patchword.tasks.base import Task
        if TYPE_CHECKING:
            import rich

        @dataclass(frozen=True)
        class Plan:
            """P."""

            eager: bool = False

        def fit(*names: str) -> Plan:
            """F."""
            def hook(*args, **kwargs): ...
            print(names, hook)
        ''',
    "layers/__init__.py": '''
        """L."""
        from patchword.layers.block import Block as Block
        from patchword.layers.block import Norm as Norm
        ''',
    "layers/block.py": '''
        """B."""
        class Block:
            """B."""
            norm = Norm
        class Norm:
            """Three papers have it as blocks have it."""
        class Mask:
            """No paper names it, but the engine."""
        ''',
    "models/__init__.py": '"""M."""\n',
    "models/vit.py": PAPER
    + "from patchword.layers import Block\n"
    + "def sized(n):\n    'S.'\n    return Block(n)\nVARIANTS = {'vit': sized(1)}\n",
    "models/deit.py": PAPER + "from patchword.models.vit import sized\nVARIANTS = {'deit': 2}\n",
    "text/bert.py": PAPER + "from patchword.layers.block import Block\nVARIANTS = {'bert': 1}\n",
    "tasks/base.py": '''
        """T."""
        class Task:
            """T."""
            def train(self, mode: bool = True) -> None:
                """T."""
        class Distill(Task):
            """D."""
            def train(self, mode: bool = True) -> None: ...
        LOW, HIGH = 0, 1
        ''',
}


class Breach(NamedTuple):
    """A file of the sound package, what is added to it, and what the check then says."""

    place: str
    text: str
    fault: str


LONG = "def f():\n    '''F.'''\n" + "    x = 1\n" * 50
NINE = ", ".join("abcdefghi")
BREACHES: dict[Law, list[Breach]] = {
    house.layering: [
        Breach("errors.py", "import patchword.config", "config does not lie below"),
        Breach("errors.py", "def f():\n    from patchword import api", "imports"),
        Breach("errors.py", "from . import api", "imports patchword.api"),
        Breach("engine/loop.py", "from ..api import train", "api.train"),
        Breach("errors.py", "from patchword import load", "__init__ does not lie"),
        Breach("data/rows.py", "import patchword.layers", "data may import only"),
        Breach("tasks/a.py", "import patchword.evaluation.topk", "does not lie below"),
        Breach("engine/loop.py", "from patchword.tasks import dino", "only base of"),
        Breach("engine/run.py", "import_module('patchword.api')", "patchword.api"),
        Breach("attic.py", "", "attic.py: no layer holds this room"),
    ],
    house.families_apart: [
        Breach("models/vit.py", "from patchword.models import deit", "deit"),
        Breach("models/deit.py", "VARIANTS = {}", "the pair with vit is not needed"),
    ],
    house.libraries: [
        Breach("data/rows.py", "import pyarrow", "may not import pyarrow at its top"),
        Breach("models/vit.py", "def f():\n    import timm", "may not import timm"),
        Breach("engine/loop.py", "def f():\n    import tyro", "may not import tyro"),
        Breach("cli.py", "import torch", "may not import torch at its top"),
    ],
    house.file_names: [
        Breach("layers/utils.py", "", "layers/utils.py: utils says nothing"),
        Breach("common/grid.py", "", "common: common says nothing"),
    ],
    house.headers: [
        Breach("heads/dpt.py", '"""DPT.\n\nPaper  P\nReference R\n"""', "no line Depart"),
        Breach("recipes/dino.py", '"""Reference and Departures.\n"""', "no line Paper"),
    ],
    house.registry: [
        Breach("models/cait.py", "", "lists no VARIANTS"),
        Breach("models/cait.py", "VARIANTS = {'vit': 1}", "'vit' is in models/cait.py"),
        Breach("models/cait.py", "VARIANTS = {'a': 1, 'a': 2}", "models/cait.py already"),
        Breach("models/cait.py", "VARIANTS = {'a' + 'b': 1}", "not a literal name"),
        Breach("models/cait.py", "VARIANTS = {**{}}", "** is not a literal name"),
        Breach("models/cait.py", "VARIANTS = dict(a=1)", "not simply a literal dict"),
    ],
    house.budgets: [
        Breach("engine/loop.py", "x = 1\n" * 300, "engine/loop.py: 3"),
        Breach("models/vit.py", "x = 1\n" * 250, "models/vit.py: 2"),
        Breach("engine/run.py", LONG, "engine/run.py:f: 52 lines"),
    ],
    parts.parts: [
        Breach("layers/block.py", "class Mlp:\n    ...", "Mlp serves no three papers, only none"),
        Breach("layers/block.py", "TABLE = 1", "TABLE serves no three"),
        Breach("layers/window.py", "class Window(Block): ...", "Window serves no three"),
    ],
    code.parameters: [
        Breach("errors.py", f"def f({NINE}): ...", "f takes 9 parameters"),
        Breach("errors.py", f"class C:\n def __init__(self, {NINE}): ...", "takes 9"),
        Breach("errors.py", "def f(deep: bool): ...", "the boolean deep by position"),
        Breach("errors.py", "def f(a, deep: bool | None = None): ...", "deep"),
        Breach("errors.py", "def _f(deep=True): ...", "the boolean deep by position"),
        Breach("errors.py", "def f(**rest: int): ...", "f takes **rest"),
        Breach("errors.py", "class C:\n def m(self, *a): ...", "C.m takes *a of any"),
    ],
    code.no_hasattr: [
        Breach("errors.py", "def f(x): return hasattr(x, 'y')", "errors.py:5: hasattr"),
    ],
    code.docstrings: [
        Breach("engine/run.py", "", "the file has no docstring"),
        Breach("errors.py", "def f(): ...", "f has no docstring"),
        Breach("errors.py", "class C:\n '''C.'''\n def m(self): ...", "m has no doc"),
    ],
    code.nothing_at_import: [
        Breach("errors.py", "torch.set_num_threads(1)", "torch.set_num_threads"),
        Breach("errors.py", "os.environ['A'] = 'b'", "os.environ['A'] = 'b'"),
        Breach("errors.py", "A = torch.b = 1", "A = torch.b = 1"),
        Breach("errors.py", "X = open('x').read()", "open('x')"),
        Breach("errors.py", "MASK = torch.Generator()", "torch.Generator()"),
        Breach("errors.py", "def f(x=load()): ...", "load()"),
        Breach("errors.py", "@register\nclass A: ...", "register"),
        Breach("errors.py", "class A:\n x = load()", "load()"),
        Breach("errors.py", "for x in 'ab':\n    print(x)", "for x in 'ab':"),
        Breach("errors.py", "try:\n    import a\nexcept E:\n    a = 1", "try:"),
    ],
    code.commands: [
        Breach("cli.py", "VERBS = ('train', 'bake')", "verb bake is no function"),
        Breach("api.py", "def bake(): ...", "bake is no verb of cli.py"),
        Breach("api.py", "def train(data, depth):\n '''T.'''", "under Args: depth"),
    ],
    code.exports: [
        Breach("__init__.py", "_HOMES = {'b': 'patchword.x', 'a': 'patchword.x'}", "out of order"),
        Breach("__init__.py", "_HOMES = {'Wrong': 'patchword.errors'}", "the type checker misses"),
        Breach(
            "__init__.py", "if TYPE_CHECKING:\n import patchword.x", "only the type checker knows"
        ),
        Breach(
            "__init__.py", "_HOMES = {'gone': 'patchword.errors'}", "errors does not define gone"
        ),
        Breach("train.py", '"""T."""', "takes the place of the public name train"),
        Breach("train/__init__.py", '"""T."""', "takes the place of the public name train"),
    ],
}
REWRITTEN = {"cli.py", "__init__.py", "models/deit.py"}  # there the text stands alone


@pytest.fixture(autouse=True)
def no_excuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the made-up packages to the laws alone, whatever the real one is excused."""
    monkeypatch.setattr(tables, "EXCUSED", {})
    monkeypatch.setattr(tables, "WIDE", {})
    monkeypatch.setattr(tables, "AWAITED", {})
    monkeypatch.setattr(tables, "INFRASTRUCTURE", {"tasks/base.py": "what every task is"})
    monkeypatch.setattr(tables, "FAMILY_PAIRS", {("deit", "vit"): "one more token"})


def build(root: Path, files: dict[str, str]) -> Path:
    """Write a package."""
    for place, text in files.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return root


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_sound_package_passes(law: Law, tmp_path: Path) -> None:
    assert law(build(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("law", "breach"),
    [
        pytest.param(law, breach, id=f"{law.__name__}-{breach.fault}")
        for law, breaches in BREACHES.items()
        for breach in breaches
    ],
)
def test_a_breach_is_found(law: Law, breach: Breach, tmp_path: Path) -> None:
    sound = "" if breach.place in REWRITTEN else dedent(SOUND.get(breach.place, "")).lstrip("\n")
    files = {**SOUND, breach.place: f"{sound}\n{breach.text}\n"}
    faults = law(build(tmp_path, files))
    assert [fault for fault in faults if breach.fault in fault], faults
    assert all(fault.startswith(breach.place.partition("/")[0]) for fault in faults), faults


def test_every_law_has_a_breach() -> None:
    assert set(BREACHES) == set(LAWS)


def test_an_excuse_covers_what_it_names_and_must_be_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    excuses = {"engine/run.py:f": "one long list", "api.py:train": "none"}
    monkeypatch.setattr(tables, "EXCUSED", excuses)
    monkeypatch.setattr(tables, "WIDE", excuses)
    long_and_wide = LONG.replace("()", f"({NINE})")
    package = build(tmp_path, {**SOUND, "engine/run.py": long_and_wide})
    assert house.budgets(package) == ["api.py:train: excused, and not over its budget"]
    assert code.parameters(package) == ["api.py:train: excused, and not over its parameters"]


def test_a_part_serves_the_papers_that_build_on_a_network_but_not_one_network_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = build(tmp_path / "alone", {**SOUND, "models/deit.py": PAPER + "VARIANTS = {}\n"})
    few = "serves no three papers, only bert, vit"
    assert parts.parts(alone) == [
        f"layers/block.py:2: Block {few}",
        f"layers/block.py:5: Norm {few}",
    ]
    one = build(tmp_path / "one", {**SOUND, "text/bert.py": PAPER + "VARIANTS = {}\n"})
    assert [fault.partition(" serves")[0] for fault in parts.parts(one)] == [
        "layers/block.py:2: Block",
        "layers/block.py:5: Norm",
    ]
    awaited = {"layers/block.py:Block": "CLIP", "layers/block.py:Norm": "CLIP"}
    monkeypatch.setattr(tables, "AWAITED", awaited)
    assert parts.parts(alone) == []
    assert parts.parts(build(tmp_path / "sound", SOUND)) == [
        f"{place}: excused, and not short of papers" for place in awaited
    ]


def test_infrastructure_that_is_gone_needs_no_excuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "INFRASTRUCTURE", {"tasks/base.py": "", "tasks/old.py": ""})
    assert house.headers(build(tmp_path, SOUND)) == ["tasks/old.py: excused, and not there"]


def test_the_architecture_page_is_held_against_the_tree(tmp_path: Path) -> None:
    page = tmp_path / "architecture.md"
    page.write_text("| `api.py` | verbs |\n| `optim/` | rates |\n| `api.py`  | again |\n")
    package = build(tmp_path / "package", {"api.py": "", "data/rows.py": "", "pages/style.css": ""})
    assert house.rooms(package, page) == [
        "architecture.md does not list data/",
        "architecture.md lists optim/: there is none",
        "architecture.md lists api.py twice",
    ]


def test_committed_places_are_found(tmp_path: Path) -> None:
    bad = ["--index https://pypi." + "org/simple", "cd /" + "tmp/x", "A=b:/" + "root/x"]
    good = ["see https://a.org/home/x", "runs/tmp/x", "../work/x", "#!/usr/bin/env bash"]
    (tmp_path / "notes.md").write_text("\n".join(bad + good))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    assert [fault.partition(": ")[0] for fault in mentions(tmp_path)] == [
        f"notes.md:{line}" for line in (1, 2, 3)
    ]
