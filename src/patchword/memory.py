"""Freed memory that stays with the process, so that the next step finds it there."""

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

TRIM, MAPPED = -1, -3  # thresholds of glibc's mallopt, in bytes
KEEP = {MAPPED: 1 << 30, TRIM: -1}
USUAL = {MAPPED: 32 << 20, TRIM: 64 << 20}  # the largest that glibc goes to by itself


@contextmanager
def kept() -> Generator[None]:
    """Keep what is freed inside the block for what is allocated next; give it back at the end.

    By default glibc returns a large tensor's pages to the system as the tensor dies, and the next
    one has each page made and cleared anew: on some machines a fifth of a training's time
    (benchmarks/memory.py). Where the C library is another, nothing is done.
    """
    library = glibc()
    if library is None:
        yield
        return
    for option, value in KEEP.items():
        library.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in USUAL.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def keeping(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function run with its freed memory kept."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with kept():
            return function(*args, **kwargs)

    return inner


def glibc() -> ctypes.CDLL | None:
    """Return the process's C library, if it can be told what to keep."""
    try:
        library = ctypes.CDLL(None)
        return library if library.gnu_get_libc_version else None
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return None
