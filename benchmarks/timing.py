"""How the benchmarks measure time and memory."""

from __future__ import annotations

import multiprocessing
import resource
import timeit
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def seconds(work: Callable[[], object], repetitions: int = 3) -> float:
    """Least time of a few repetitions."""
    return min(timeit.repeat(work, repeat=repetitions, number=1))


def peak_mb() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do work in a process of its own: frameworks in one process compete for its threads and share its peak memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()
