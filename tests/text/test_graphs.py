"""Readers of text compile in one graph and are programs, where nothing checks shapes."""

import subprocess
import sys
from pathlib import Path

SHIPPED = ("bert", "gpt2", "transformer")  # whose tests yield `shipped` models


def test_what_is_shipped_is_one_graph_and_a_program():
    """In one process for all of them, which takes seconds to start."""
    command = [sys.executable, "-W", "error", "-m", "tests.text.graphs", *SHIPPED]
    ran = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [*SHIPPED]
