"""What a stage's program tells the journal, and who brings that to the sheet."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l3embedding.export.model_card import caveats
from l3embedding.jobs.folder import WHOLE, Share, StageFolder, ancestors
from l3embedding.jobs.journal import Journal
from l3embedding.settings import TrackingSettings
from l3embedding.utils.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TRACKED = ("03-train-approx-embedding", "06-train-classifier")
"""The stages that have rows in the sheet."""


class Track:
    """Writes what a stage reports while it works to its journal."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal

    def note(self, **facts: Any) -> None:
        """Add facts that were found out."""
        if self._journal:
            self._journal.append("noted", **facts)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Add the metrics of an epoch; `epoch` counts from 1."""
        if self._journal:
            self._journal.append("epoch", **row)


@contextmanager
def tracked(folder: StageFolder, share: Share, gsheet_id: str, sheet_name: str) -> Iterator[tuple[Track, Journal]]:
    """Keep the journal of a run: its start, its failure; and the row up to the journal, where a sheet is named.

    Any other end is for the caller to record.
    """
    journal = Journal(folder.path, None if share == WHOLE else share.index)
    journal.append("started", **start_facts(folder))
    with _followed(folder, gsheet_id, sheet_name):
        try:
            yield Track(journal), journal
        except Exception as error:
            message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            journal.status("failed", error=message)
            raise


@contextmanager
def _followed(folder: StageFolder, gsheet_id: str, sheet_name: str) -> Iterator[None]:
    if not gsheet_id:
        yield
        return
    from l3embedding.sheet.sync import Follower

    with Follower(folder.path, TrackingSettings(gsheet_id=gsheet_id, google_dev_app_name=sheet_name)):
        yield


def start_facts(folder: StageFolder) -> dict[str, Any]:
    """The configuration of a run, and where and as what it runs."""
    came_of = list(ancestors(folder.inputs))
    extraction = next((each for each in came_of if each["stage"] == "00-extract-teacher-embeddings"), None)
    return {
        "run_id": folder.run_id,
        "stage": folder.stage,
        "output_dir": str(folder.path.resolve()),
        "parameters": dict(folder.parameters),
        "inputs": {name: str(Path(path).resolve()) for name, path in folder.inputs.items()},
        "upstream_data": extraction["inputs"]["audio_root"] if extraction else None,
        "teacher": extraction["results"]["teacher_name"] if extraction else None,
        "caveats": caveats(came_of),
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "job_id": _job_id(),
        **_commit(),
    }


def _job_id() -> str | None:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def _commit() -> dict[str, Any]:
    """The commit that this code is of, and whether files differ from it; nothing outside a clone."""

    def git(*words: str) -> str | None:
        try:
            ended = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return ended.stdout.strip() if ended.returncode == 0 else None

    changed = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "--short=12", "HEAD"), "dirty": None if changed is None else bool(changed)}
