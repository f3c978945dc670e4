"""Importing the package is quick and changes nothing; so is asking the command line for help."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.structure import tables

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"
IMPORTED = 0.2  # seconds that `import patchword` may take
ANSWERED = 0.5  # seconds that a command without work may take, the interpreter's start included


def probe(source: Path) -> dict[str, Any]:
    """Import the package below a folder in a process of its own."""
    return json.loads(python(str(HERE / "probe.py"), str(source), *tables.ON_TOP).stdout)


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter to its end."""
    run = subprocess.run([sys.executable, *words], capture_output=True, check=False, text=True)
    assert run.returncode == 0, run.stderr
    return run


def heavy(modules: list[str]) -> list[str]:
    """Pick what `import patchword` must not pull in: libraries and families."""
    libraries = {*tables.ON_TOP, *tables.IN_FUNCTIONS}
    return [
        name
        for name in modules
        if name.partition(".")[0] in libraries or name.startswith("patchword.models.")
    ]


def test_importing_has_no_consequences() -> None:
    seen = probe(SRC)
    assert heavy(seen["pulled"]) == []
    assert seen["changed"] == []
    assert seen["missing"] == []


def test_importing_the_package_is_quick() -> None:
    timed = "import sys, time; sys.path.insert(0, sys.argv[1]); start = time.perf_counter()"
    code = f"{timed}; import patchword; print(time.perf_counter() - start)"
    assert min(float(python("-c", code, str(SRC)).stdout) for _ in range(5)) <= IMPORTED


@pytest.mark.parametrize(("word", "status"), [("--help", 0), ("--version", 0), ("trian", 2)])
def test_the_command_line_answers_at_once_and_without_torch(word: str, status: int) -> None:
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from patchword.cli import main; "
    command = [sys.executable, "-X", "importtime", "-c", f"{code}sys.exit(main())", str(SRC), word]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        assert run.returncode == status, run.stderr[-2000:]
    pulled = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert pulled.isdisjoint({"torch", "numpy", "torchvision", "patchword.models.vit"})
    assert min(seconds) <= ANSWERED


def test_the_probe_sees_what_an_import_did(tmp_path: Path) -> None:
    package = tmp_path / "patchword"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "__all__ = ['gone']\nimport patchword.models.vit\nimport numpy\n"
    )
    (package / "models" / "vit.py").write_text("")
    (package / "meddler.py").write_text(
        "import logging, os, random, sys, warnings, torch, PIL.Image, PIL.ImageFile\n"
        "torch.set_default_dtype(torch.float64)\n"
        "torch.set_num_threads(torch.get_num_threads() + 1)\n"
        "torch.set_grad_enabled(False)\n"
        "PIL.Image.open = print\n"
        "PIL.ImageFile.LOAD_TRUNCATED_IMAGES = True\n"
        "logging.basicConfig()\n"
        "warnings.simplefilter('ignore')\n"
        "os.environ['PATCHWORD_MEDDLED'] = '1'\n"
        "os.chdir('/')\n"
        "random.seed(0)\n"
        "sys.path.append('here')\n"
    )
    seen = probe(tmp_path)
    assert {"numpy", "patchword.models.vit"} <= set(heavy(seen["pulled"]))
    assert seen["missing"] == ["gone"]
    assert set(seen["changed"]) == {
        *("dtype", "threads", "gradients", "PIL.Image.open", "PIL limits", "logging", "warnings"),
        *("environment", "folder", "random", "interpreter"),
    }
