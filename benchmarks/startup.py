"""How long it takes to start: ours beside the peers that are installed.

    python benchmarks/startup.py [COMMAND ...]

Each command is a fresh process; the order is shuffled in every round, and the median of the rounds
is printed with its range. Further commands, such as "yolo --help", are timed as they are given.
"""

import platform
import random
import shlex
import subprocess
import sys
import time
from importlib.util import find_spec
from statistics import median

from patchword.training.origin import processor

ROUNDS = 5


def commands(given):
    ours = [sys.executable, "-m", "patchword", "--help"]
    found = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "patchword --help": ours,
        "patchword trian (misspelt)": [*ours[:-1], "trian"],
        "import patchword": [sys.executable, "-c", "import patchword"],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    for peer in ("timm", "transformers", "ultralytics"):
        if find_spec(peer):
            found[f"import {peer}"] = [sys.executable, "-c", f"import {peer}"]
    return found | {command: shlex.split(command) for command in given}


def main():
    found = commands(sys.argv[1:])
    times = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name in random.sample(list(found), len(found)):
            start = time.perf_counter()
            subprocess.run(found[name], capture_output=True, check=False)
            times[name].append(time.perf_counter() - start)
    print(f"{processor()}, Python {platform.python_version()}")
    for name, spent in times.items():
        print(f"{name:<30}{median(spent):7.3f} s   ({min(spent):.3f} to {max(spent):.3f})")


if __name__ == "__main__":
    main()
