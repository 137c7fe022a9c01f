"""Progress of long work: a bar on a terminal, a line now and then in a job's log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm

LOG_INTERVAL_S = 30.0


class Progress(Protocol):
    """What is told how far the work has come."""

    def update(self, n: float) -> object:
        """Add `n` units of finished work."""


@contextmanager
def progress(description: str, total: int, unit: str, logger: logging.Logger) -> Iterator[Progress]:
    """Show how far a piece of work has come, how fast it goes and how long is left.

    Parameters
    ----------
    description
        What is being done.
    total
        How many units there are.
    unit
        What is counted, e.g. `frames`.
    logger
        Where the lines go if stderr is no terminal.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, desc=description, unit=f" {unit}") as bar:
            yield bar
    else:
        lines = _Lines(description, total, unit, logger)
        yield lines
        lines.close()


class _Lines:
    def __init__(self, description: str, total: int, unit: str, logger: logging.Logger) -> None:
        self._description, self._total, self._unit, self._logger = description, total, unit, logger
        self._done = 0
        self._started = self._said = time.monotonic()

    def update(self, n: float) -> None:
        self._done += int(n)
        now = time.monotonic()
        if now - self._said < LOG_INTERVAL_S:
            return
        self._said = now
        rate = self._done / (now - self._started)
        left = tqdm.format_interval((self._total - self._done) / rate) if rate else "?"
        self._logger.info(
            "%s: %d of %d %s, %.1f/s, %s left", self._description, self._done, self._total, self._unit, rate, left
        )

    def close(self) -> None:
        elapsed = time.monotonic() - self._started
        self._logger.info("%s: %d %s in %.1f s", self._description, self._done, self._unit, elapsed)
