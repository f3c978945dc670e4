"""Where a run comes from: data, recipe, machine, libraries, command."""

import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from patchword.config import dump
from patchword.data import terms
from patchword.lineage import of_data, passed_on
from patchword.results import Inherited
from patchword.training.choose import Chosen
from patchword.training.settings import Settings

BEYOND = {"avx512_bf16": "bf16", "amx_tile": "AMX"}  # beside vectors, what torch can use


def provenance(chosen: Chosen, settings: Settings) -> dict[str, Any]:
    """Say where a model comes from."""
    return {
        "patchword": version("patchword"),
        "data": chosen.data.name,
        "pictures": len(chosen.data.train),
        "fingerprint": settings.fingerprint,
        "recipe": settings.recipe.name,
        **(chosen.start.provenance if chosen.start else {"init": None}),
        "inherits": [dump(row) for row in inherits(chosen, settings)],
    }


def inherits(chosen: Chosen, settings: Settings) -> list[Inherited]:
    """Return what a training is made from, with what that was made from in turn."""
    request, teacher = settings.request, chosen.teacher
    rows = [of_data(request.data, terms.of_data(request.data))]
    if chosen.start is not None:
        rows += passed_on(chosen.start.card, chosen.start.source, "weights")
    if teacher is not None:
        rows += passed_on(teacher.card, teacher.source, "teacher")
    return rows


def environment() -> dict[str, Any]:
    """Describe machine, libraries and command."""
    libraries = ("torch", "torchvision", "numpy", "pillow")
    return {
        "command": sys.argv,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in libraries},
    }


def processor() -> str:
    """Return the processor's name, its cores, and the vector instructions that torch has of it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    able = torch.cpu.get_capabilities()
    beyond = [word for key, word in BEYOND.items() if able.get(key)]
    vectors = " ".join([torch.backends.cpu.get_cpu_capability(), *beyond])
    return f"{name} ({os.cpu_count()} cores, {vectors})"
