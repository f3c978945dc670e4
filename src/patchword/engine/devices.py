"""Where a training computes, and how exactly."""

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

from patchword.errors import ConfigError

Precision = Literal["fp32", "bf16"]


def device(name: str = "auto") -> torch.device:
    """Return the device of a name, or the fastest kind there is for `auto`.

    Raises:
        ConfigError: there is no such device here.
    """
    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:  # the latter from builds without CUDA
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"--device {name} cannot be used here: {reason}") from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def computing(precision: Precision, where: torch.device) -> AbstractContextManager[object]:
    """Compute matrix products in a precision inside the block; weights stay in fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(where.type, torch.bfloat16)


@contextmanager
def threads(count: int) -> Generator[None]:
    """Compute with so many threads inside the block; sums are rounded as they are split."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def faster(step: Callable[[Precision], object], *, seconds: float = 1.5) -> dict[Precision, float]:
    """Time a training step in each precision, turn by turn.

    What a processor's flags promise is not what a network gets; this is.

    Args:
        step: takes one step; called until the time is up, at least twice per precision.
        seconds: for each precision, after a first step that is not counted.

    Returns:
        the median seconds of a step.
    """
    times: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for precision in times:
        step(precision)
    while any(sum(spent) < seconds or len(spent) < 2 for spent in times.values()):
        for precision, spent in times.items():
            start = time.perf_counter()
            step(precision)
            spent.append(time.perf_counter() - start)
    return {precision: sorted(spent)[len(spent) // 2] for precision, spent in times.items()}
