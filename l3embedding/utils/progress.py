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
def progress(description: str, total: int, unit: str, logger: logging.Logger, done: int = 0) -> Iterator[Progress]:
    """Show how far a piece of work has come, how fast it goes and how long is left.

    Parameters
    ----------
    description
        What is being done.
    total
        How many units there are.
    unit
        What is counted, e.g. `frames`; `B`, bytes, are said as kB, MB and GB.
    logger
        Where the lines go if stderr is no terminal.
    done
        Units that were finished before.
    """
    if sys.stderr.isatty():
        scale = unit == "B"
        named = unit if scale else f" {unit}"
        with tqdm(total=total or None, initial=done, desc=description, unit=named, unit_scale=scale) as bar:
            yield bar
    else:
        lines = _Lines(description, total, unit, logger, done)
        yield lines
        lines.close()


class _Lines:
    def __init__(self, description: str, total: int, unit: str, logger: logging.Logger, done: int) -> None:
        self._description, self._total, self._unit, self._logger = description, total, unit, logger
        self._done = self._before = done
        self._started = self._said = time.monotonic()

    def update(self, n: float) -> None:
        self._done += int(n)
        now = time.monotonic()
        if now - self._said < LOG_INTERVAL_S:
            return
        self._said = now
        rate = (self._done - self._before) / (now - self._started)
        left = tqdm.format_interval((self._total - self._done) / rate) if rate and self._total else "?"
        self._logger.info(
            "%s: %s of %s, %s/s, %s left",
            self._description,
            self._said_of(self._done),
            f"{self._said_of(self._total)}{self._name}" if self._total else "?",
            self._said_of(rate),
            left,
        )

    def close(self) -> None:
        elapsed = time.monotonic() - self._started
        brought = self._said_of(self._done - self._before)
        self._logger.info("%s: %s%s in %.1f s", self._description, brought, self._name, elapsed)

    @property
    def _name(self) -> str:
        return self._unit if self._unit == "B" else f" {self._unit}"

    def _said_of(self, n: float) -> str:
        if self._unit == "B":
            return tqdm.format_sizeof(n)
        return str(n) if isinstance(n, int) else f"{n:.1f}"
