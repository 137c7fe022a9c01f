"""Requests to stop: a scheduler's warning signal, or a polite end.

Since every output appears whole or not at all, a program may be stopped anywhere: the signal becomes an
exception, as Ctrl-C does. Work that has to save its state first defers it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
"""A scheduler's warning before the time is up, and the end itself."""


class StopRequested(BaseException):
    """The program was asked to stop. It is no error, and only the top level should catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"asked to stop by {signal.Signals(number).name}")
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within it, raise `StopRequested` wherever the program is when it is asked to stop."""

    def stop(number: int, _: object) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # once is enough; cleaning up must not be disturbed
        raise StopRequested(number)

    with _handled_by(stop):
        yield


@contextmanager
def stop_deferred() -> Iterator[Callable[[], bool]]:
    """Within it, do not raise; the function it yields returns whether the program was asked to stop.

    Raises
    ------
    StopRequested
        At its end, if the program was asked to stop within it.
    """
    asked: list[int] = []
    with _handled_by(lambda number, _: asked.append(number)):
        yield lambda: bool(asked)
    if asked:
        raise StopRequested(asked[0])


@contextmanager
def _handled_by(handler: Callable[[int, object], object]) -> Iterator[None]:
    before = {each: signal.signal(each, handler) for each in STOP_SIGNALS}
    try:
        yield
    finally:
        for each, previous in before.items():
            signal.signal(each, previous)
