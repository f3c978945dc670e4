"""Import a package in a fresh interpreter and print, as JSON, what that did to the world.

    python probe.py SRC LIBRARY ...

`SRC` is the folder that holds `patchword`; the libraries are those that its files import at their
tops: they are imported first, so that what they do is not laid at our door.
"""

import importlib
import json
import logging
import multiprocessing
import os
import pkgutil
import random
import signal
import sys
import threading
import time
import warnings
from types import ModuleType


def world() -> dict[str, str]:
    """Describe everything global that a library might be tempted to change."""
    import numpy
    import PIL.Image
    import PIL.ImageFile
    import torch

    backends = torch.backends
    seen = {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": (torch.is_grad_enabled(), torch.is_anomaly_enabled()),
        "determinism": (torch.are_deterministic_algorithms_enabled(), backends.cudnn.benchmark),
        "precision": (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32),
        "random": (
            random.getstate(),
            numpy.random.get_state()[1].tobytes(),
            torch.get_rng_state().numpy().tobytes(),
        ),
        "PIL.Image.open": PIL.Image.open,
        "PIL limits": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES),
        "logging": (logging.root.handlers, logging.root.level),
        "warnings": warnings.filters,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "interpreter": (sys.path, sys.excepthook, sys.getrecursionlimit()),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "workers": (threading.enumerate(), multiprocessing.get_start_method(allow_none=True)),
    }
    return {name: repr(value) for name, value in seen.items()}


def has(package: ModuleType, name: str) -> bool:
    """Tell whether a name that a package exports can be had."""
    try:
        getattr(package, name)
    except (AttributeError, ImportError):
        return False
    return True


def main(source: str, *libraries: str) -> None:
    """Import the package, then each of its modules, and report."""
    sys.path.insert(0, source)
    bare = set(sys.modules)
    start = time.perf_counter()
    package = importlib.import_module("patchword")
    seconds = time.perf_counter() - start
    pulled = sorted(set(sys.modules) - bare)

    for library in ("torch", *libraries):
        importlib.import_module(library)
    before = world()
    for module in pkgutil.walk_packages(package.__path__, "patchword."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    after = world()
    report = {
        "seconds": seconds,
        "pulled": pulled,
        "changed": [name for name in before if before[name] != after[name]],
        "missing": [name for name in package.__all__ if not has(package, name)],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
