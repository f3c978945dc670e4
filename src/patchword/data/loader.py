"""The loader: items of a data set, in order, made ahead of time by a thread or by processes.

The items are pure functions of their number, so this file decides when they are made, never what
they are.
"""

import os
import signal
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from patchword.errors import DataError

Item = TypeVar("Item")
Context = Literal["fork", "spawn", "forkserver"]
AHEAD = 2  # items per worker


def cores() -> int:
    """Return how many cores this process may use, or how many there are where nobody tells."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def loader(
    dataset: Dataset[Item],
    *,
    start: int,
    stop: int,
    step: int = 1,
    workers: int = 0,
    context: Context | None = None,
) -> Generator[Item]:
    """Yield the items start, start + step, ... below stop; the same for any number of workers.

    Closing the iterator ends its thread or processes.

    Args:
        dataset: what the items are taken from; with workers, it must be one that can be pickled.
        start: the first item's number.
        stop: yield no item from here on.
        step: from one item to the next.
        workers: processes, of one thread each; 0: one thread in this process.
        context: how processes are started; None: the platform's way.

    Raises:
        DataError: a worker was killed. Whatever an item raises comes through as well.
    """
    items = range(start, stop, step)
    if workers:
        yield from _by_processes(dataset, items, workers, context)
    else:
        yield from _by_thread(dataset, items)


def _by_thread(dataset: Dataset[Item], items: range) -> Generator[Item]:
    numbers = iter(items)
    pool = ThreadPoolExecutor(
        1, thread_name_prefix="patchword-data", initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        pending = deque(pool.submit(dataset.__getitem__, n) for n in islice(numbers, AHEAD))
        while pending:
            item = pending.popleft().result()
            pending.extend(pool.submit(dataset.__getitem__, n) for n in islice(numbers, 1))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _by_processes(
    dataset: Dataset[Item], items: range, workers: int, context: Context | None
) -> Generator[Item]:
    made = DataLoader(
        dataset,
        batch_size=None,
        sampler=items,
        collate_fn=_unchanged,
        num_workers=workers,
        prefetch_factor=AHEAD,
        worker_init_fn=_deaf,
        multiprocessing_context=context,
        generator=torch.Generator(),  # else the loader draws from the global one
    )
    died = ""
    try:
        yield from made
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        died = str(error)
    if died:  # raised here, as whoever keeps the error would keep the other workers with it
        raise DataError(
            f"a data worker died ({died}); continue the run, with fewer workers if memory is short"
        )


def _deaf(worker: int) -> None:
    """Leave signals that a terminal sends to the whole group to the process that trains."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _unchanged(item: Item) -> Item:
    return item
