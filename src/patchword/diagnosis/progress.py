"""How far a check-up is: a bar on a terminal, nothing where the output is kept."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from patchword.diagnosis.examine import Watch


@contextmanager
def progress() -> Generator[Watch]:
    """Show a bar with rate and time left while the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    words, counts = "{task.description}", "{task.fields[count]}"
    columns = (TextColumn(words), BarColumn(), TextColumn(counts), TimeRemainingColumn())
    shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with shown:
        task = shown.add_task("opening", total=None, count="")
        began = {"opening": time.monotonic()}

        def watch(what: str, done: int, total: int) -> None:
            if what not in began:
                began[what] = time.monotonic()
                shown.reset(task, description=what, total=total)
            rate = done / max(time.monotonic() - began[what], 1e-3)
            shown.update(task, completed=done, count=f"{done:,} of {total:,}, {rate:,.0f}/s")

        yield watch
