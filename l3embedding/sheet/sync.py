"""Syncs the sheet with the journals: from a login node, or from the job itself.

A sync holds a lock in each run's folder, so that a run has one writer however many syncs are running.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from l3embedding.jobs.journal import Run, read_run
from l3embedding.settings import TrackingSettings
from l3embedding.sheet.google import SheetsError, find_account, open_sheet, patiently
from l3embedding.sheet.rows import TABS, row_of, tab_of
from l3embedding.sheet.tab import update_tab

logger = logging.getLogger(__name__)

_LOCK = ".sync.lock"
_LAST_SYNC_S = 60.0
_LAST_SYNC_WHEN_STOPPED_S = 10.0
"""Shorter, since the scheduler that stopped the run kills it soon."""


def sync_runs(runs: Sequence[Run], sheet: TrackingSettings) -> int:
    """Bring the rows of runs up to date with their journals, and return how many cells and rows were written.

    Raises
    ------
    SheetsBusy, SheetsError
        The sheet could not be written, now or at all; the journals keep everything.
    """
    folders = sorted({run.folder for run in runs if tab_of(run)})
    if not folders:
        return 0
    account = find_account()
    with _locked(folders):
        spreadsheet = patiently(lambda: open_sheet(sheet.gsheet_id, account))
        if (name := sheet.google_dev_app_name) and name != spreadsheet.title:
            logger.warning("the sheet is called %r, not %r", spreadsheet.title, name)
        current = [run for folder in folders if (run := read_run(folder))]
        written = 0
        for tab in TABS:
            rows = {run.run_id: row_of(run) for run in current if tab_of(run) is tab}
            written += update_tab(spreadsheet, tab, rows) if rows else 0
        return written


class Follower:
    """Keeps the row of a running run up to date, in a thread whose errors are only logged."""

    def __init__(self, folder: Path, sheet: TrackingSettings, every_s: float = 60.0) -> None:
        self._folder, self._sheet, self._every_s = folder, sheet, every_s
        self._ended = threading.Event()
        self._logged = ""
        self._thread = threading.Thread(target=self._follow, name="sheet", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait a while for the last sync; `sea sync` does it otherwise."""
        self._ended.set()
        self._thread.join(_LAST_SYNC_S if kind is None else _LAST_SYNC_WHEN_STOPPED_S)
        if self._thread.is_alive():
            logger.warning("the sheet is behind %s; `sea sync` brings it up to date", self._folder)

    def _follow(self) -> None:
        self._sync()
        while not self._ended.wait(self._every_s):
            self._sync()
        # Once more, with how the run ended.
        self._sync()

    def _sync(self) -> None:
        try:
            if run := read_run(self._folder):
                sync_runs([run], self._sheet)
        except Exception as error:  # a sheet never ends a run
            message = str(error) if isinstance(error, SheetsError) else f"{type(error).__name__} while syncing."
            if message != self._logged:
                logger.warning("%s The journal keeps it; `sea sync` brings the sheet up to date.", message)
            self._logged = message


@contextmanager
def _locked(folders: Sequence[Path]) -> Iterator[None]:
    """Hold the locks of folders; all processes acquire them in the same order, or two could wait for each other."""
    with ExitStack() as held:
        for folder in sorted(folders):
            try:
                lock = held.enter_context(open(folder / _LOCK, "a"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise SheetsError(f"{folder} cannot be locked, so its run is not synced: {error}.") from None
        yield
