"""How the benchmarks take time."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(work: Callable[[], object], repetitions: int = 3) -> float:
    """Least time of a few repetitions."""
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
