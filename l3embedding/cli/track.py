"""What a stage's program writes to its journal, and how that gets into the sheet."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    """Records what a stage reports while it works, if there is a journal."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal

    def note(self, **facts: Any) -> None:
        """Record facts about the run."""
        if self._journal:
            self._journal.append("noted", **facts)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Record the metrics of an epoch; `epoch` counts from 1."""
        if self._journal:
            self._journal.append("epoch", **row)


@contextmanager
def tracked(folder: StageFolder, share: Share, gsheet_id: str, sheet_name: str) -> Iterator[tuple[Track, Journal]]:
    """Record a run's start and its failure in the journal, and keep its row in the sheet, if one is named, up to date.

    Any other end is for the caller to record.
    """
    journal = Journal(folder.path, None if share == WHOLE else share.index)
    journal.append("started", **_start_facts(folder))
    follower: AbstractContextManager[object] = nullcontext()
    if gsheet_id:
        from l3embedding.sheet.sync import Follower

        sheet = TrackingSettings(gsheet_id=gsheet_id, google_dev_app_name=sheet_name)
        follower = Follower(folder.path, sheet)
    with follower:
        try:
            yield Track(journal), journal
        except Exception as error:
            message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            journal.status("failed", error=message)
            raise


def _start_facts(folder: StageFolder) -> dict[str, Any]:
    """The configuration of a run, and its host, job and code."""
    came_of = list(ancestors(folder.inputs))
    extraction = next((each for each in came_of if each["stage"] == "00-extract-teacher-embeddings"), None)
    array, job_id = (os.environ.get(f"SLURM_{name}") for name in ("ARRAY_JOB_ID", "JOB_ID"))
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
        "job_id": f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job_id,
        **_commit(),
    }


def _commit() -> dict[str, Any]:
    """The commit that is checked out, and whether files differ from it; None outside a clone."""

    def git(*words: str) -> str | None:
        try:
            ended = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return ended.stdout.strip() if ended.returncode == 0 else None

    changed = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "--short=12", "HEAD"), "dirty": None if changed is None else bool(changed)}
