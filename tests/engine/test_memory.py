"""Freed memory stays while it is asked to, and then goes back."""

import subprocess
import sys

import pytest

from patchword.memory import glibc, kept

FAULTS = """
import ctypes, resource
from patchword.memory import glibc, kept

library, size = glibc(), ctypes.c_size_t(24 << 20)
library.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        place = ctypes.c_void_p(library.malloc(size))
        ctypes.memset(place, 1, size.value)
        library.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
with kept():
    faults()
    inside = faults()
print(before, inside)
"""


SIZE = """
import ctypes
from pathlib import Path
from patchword.memory import glibc, kept

library = glibc()
library.malloc.restype = ctypes.c_void_p

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

with kept():
    places = [ctypes.c_void_p(library.malloc(ctypes.c_size_t(8 << 20))) for _ in range(16)]
    for place in places:
        ctypes.memset(place, 1, 8 << 20)
    for place in places:
        library.free(place)
    inside = resident()
print(inside, resident())
"""


@pytest.mark.skipif(glibc() is None, reason="another C library")
def test_what_is_freed_is_found_again():
    found = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    before, inside = map(int, found.stdout.split())
    assert inside < 100 < before  # 24 MiB are 6,144 pages of 4 KiB


@pytest.mark.skipif(glibc() is None, reason="another C library")
def test_memory_goes_back_at_the_end():
    found = subprocess.run([sys.executable, "-c", SIZE], capture_output=True, check=True)
    inside, after = map(int, found.stdout.split())
    assert after < inside - (64 << 20)


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr("patchword.memory.glibc", lambda: None)
    with kept():
        pass
