"""What every test may count on: checked shapes, threads that do not fight, honest skips."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

from tests import shapes

if not os.environ.get("PATCHWORD_UNCHECKED"):  # set it to time, export or compile what users run
    shapes.install()

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    share = max(1, (os.cpu_count() or 1) // int(workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(share))  # read when torch is first imported

hypothesis.settings.register_profile("patchword", deadline=None, derandomize=True)
hypothesis.settings.load_profile("patchword")


def _gpu_is_there() -> bool:
    import torch

    return torch.cuda.is_available()


NEEDS: dict[str, tuple[Callable[[], object], str]] = {
    "browser": (lambda: shutil.which("chromium"), "there is no chromium on the PATH"),
    "gpu": (_gpu_is_there, "there is no CUDA device"),
    "peers": (
        lambda: find_spec("timm") and find_spec("transformers"),
        "timm or transformers is not installed",
    ),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, saying why."""
    for marker, (is_there, reason) in NEEDS.items():
        if item.get_closest_marker(marker) and not is_there():
            pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference tensors and small data sets beside the checkout."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("there is no ../shared, the folder with reference tensors and data")
    return folder
