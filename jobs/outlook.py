"""What a run would do: the state of each task's folder, and why it would run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from l3embedding.jobs.chain import Task
from l3embedding.jobs.journal import read_run
from l3embedding.utils.errors import InputError


class Standing(NamedTuple):
    """How a task stands."""

    task: Task  # which
    state: str  # done, running, failed, interrupted, outdated or to do, see `l3embedding.jobs.folder.StageFolder.state`
    why: str = ""  # what has changed, or what went wrong


def outlook(tasks: Sequence[Task]) -> list[Standing]:
    """Look at the folders of tasks, parents first; what is done is outdated if one of its inputs will be made anew."""
    standings: list[Standing] = []
    todo: dict[Path, str] = {}
    for task in tasks:
        waits_for = next((todo[parent.folder] for parent in task.parents if parent.folder in todo), None)
        standing = _standing(task, waits_for)
        if standing.state != "done":
            todo[task.folder] = task.name
        standings.append(standing)
    return standings


def _standing(task: Task, waits_for: str | None) -> Standing:
    folder = task.stage_folder
    if task.missing:
        return Standing(task, "to do", " ".join(task.missing))
    try:
        state = folder.state()
        if state == "outdated":
            return Standing(task, state, "; ".join(folder.changes()))
    except InputError as error:
        # An input is missing, which is no surprise where an earlier task has yet to write it.
        return Standing(task, "to do", "" if waits_for else str(error))
    if state == "done" and waits_for:
        return Standing(task, "outdated", f"{waits_for} comes first")
    if state == "failed" and (run := read_run(task.folder)):
        return Standing(task, state, run.error)
    return Standing(task, state, "resumes where it was" if state == "interrupted" else "")
