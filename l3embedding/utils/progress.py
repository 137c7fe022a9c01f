"""Progress of long work: a bar on a terminal, a line now and then in a job's log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from tqdm import tqdm

LOG_INTERVAL_S = 30.0
"""Least time between two lines of a log."""


class Progress(Protocol):
    """Receives units of finished work as they are finished."""

    def update(self, n: float) -> object: ...


@dataclass(frozen=True)
class _LogFile:
    """The file that tqdm draws its bar in, as lines of a log."""

    logger: logging.Logger

    def write(self, text: str) -> None:
        # tqdm begins each drawing with a carriage return, and writes line feeds and cursor movements by themselves.
        if text.startswith("\r") and text.strip():
            self.logger.info("%s", text.strip())


@contextmanager
def progress(description: str, total: int, unit: str, logger: logging.Logger, done: int = 0) -> Iterator[Progress]:
    """Show the amount of finished work, its rate and the time left; `done` units were finished before.

    `unit` is what is counted, e.g. `frames`; bytes, `B`, are shown in kB, MB and GB. A `total` of 0 is unknown.
    """
    scaled = unit == "B"
    name, count = (unit, "{n_fmt}") if scaled else (f" {unit}", "{n:.0f}")
    options: dict[str, Any] = {}
    if logs := not sys.stderr.isatty():
        line = f"{{desc}}: {count} of {{total_fmt}}{name}, {{rate_fmt}}, {{remaining}} left"
        # The delay suppresses a line before any work is done; without miniters, the interval alone decides.
        options = {"file": _LogFile(logger), "bar_format": line, "mininterval": LOG_INTERVAL_S, "miniters": 0}
        options |= {"smoothing": 0, "delay": 1e-9, "leave": False}
    with tqdm(total=total or None, initial=done, desc=description, unit=name, unit_scale=scaled, **options) as bar:
        yield bar
        if logs:
            bar.bar_format = f"{{desc}}: {count}{name} in {{elapsed}}"
            logger.info("%s", bar)
