"""The journal: a run's configuration, its epochs and its end, written as they happen.

A journal is a file of JSON lines in the run's own folder, and needs nothing but a disk. Every line is one
event with its time:

===========  ===========================================================================================
`started`    run id, stage, parameters, inputs, host, user, job, commit; again for every attempt
`noted`      facts that the run found out, such as the name of its teacher
`epoch`      the metrics of an epoch
`status`     `finished` with the results, `requeued`, `stopped`, or `failed` with the error
===========  ===========================================================================================

Where several tasks share a run, each has its own journal. Reading is tolerant: events may come in any order
and more than once, and an incomplete last line, which a kill leaves behind, is ignored.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

PATTERN = "journal*.jsonl"

Event = dict[str, Any]


class Journal:
    """Writes the events of a run, or of one of the tasks that share it, to the run's folder; never raises."""

    def __init__(self, folder: Path, task: int | None = None) -> None:
        self.path = folder / ("journal.jsonl" if task is None else f"journal-{task:04d}.jsonl")
        self._task = task

    def append(self, event: str, **values: Any) -> None:
        """Add an event. Where the disk is full, the line is lost, and the run continues."""
        entry: Event = {"time": datetime.now(UTC).isoformat(timespec="microseconds"), "event": event}
        if self._task is not None:
            entry["task"] = self._task
        try:
            with open(self.path, "a+b") as file:
                line = json.dumps(entry | _plain(values), allow_nan=False, default=str).encode() + b"\n"
                if file.tell():
                    # An interrupted attempt may have left half a line.
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read() == b"\n" else b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            logger.warning("%s cannot be written: %s", self.path, error)

    def status(self, status: str, **values: Any) -> None:
        """Add the run's status: finished, requeued, stopped or failed."""
        self.append("status", status=status, **values)


@dataclass(frozen=True)
class Run:
    """One run, as its journals record it."""

    folder: Path
    run_id: str
    """Identifies the output folder and all that decides the result: the same for every attempt."""
    stage: str
    status: str
    """running, requeued, stopped, failed or finished."""
    started: str
    updated: str
    """Times of the first and the last event, ISO 8601."""
    facts: Mapping[str, Any]
    """Parameters, inputs, host, user, job id, commit and what was noted, of the last attempt."""
    epochs: tuple[Mapping[str, Any], ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by their dotted names, such as `student.dim`."""
        return dotted(self.facts.get("parameters", {}))


def dotted(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Nested parameters by their dotted names: `{"student": {"dim": 64}}` is `{"student.dim": 64}`."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        inner = isinstance(value, Mapping)
        flat |= {f"{key}.{name}": item for name, item in dotted(value).items()} if inner else {key: value}
    return flat


def read_events(path: Path) -> Iterator[Event]:
    """Read a journal; lines that are no event, such as incomplete ones, are ignored."""
    try:
        content = path.read_bytes()
    except OSError:
        return
    for line in content.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"time", "event"} <= event.keys():
            yield event


def merge(*journals: Iterable[Event]) -> list[Event]:
    """All events, each once, in the order of their times."""
    lines = {json.dumps(event, sort_keys=True) for journal in journals for event in journal}
    return sorted((json.loads(line) for line in lines), key=lambda event: (event["time"], json.dumps(event)))


def summarize(folder: Path, events: Iterable[Event]) -> Run | None:
    """Make a run of merged events; None if none of them started one."""
    events = list(events)
    starts = [event for event in events if event["event"] == "started"]
    if not starts:
        return None
    run_id = starts[-1]["run_id"]
    # The folder may have been deleted and used for another run; the last run counts.
    since = next(event["time"] for event in starts if event["run_id"] == run_id)
    events = [event for event in events if event["time"] >= since]
    facts: dict[str, Any] = {}
    epochs: dict[int, Event] = {}
    for event in events:
        values = {key: value for key, value in event.items() if key not in ("time", "event", "task")}
        if event["event"] in ("started", "noted"):
            facts |= values
        elif event["event"] == "epoch" and "epoch" in event:
            epochs[event["epoch"]] = values
    last = _decisive(events)
    return Run(
        folder=folder,
        run_id=run_id,
        stage=starts[-1]["stage"],
        status=last.get("status", "running"),
        started=events[0]["time"],
        updated=events[-1]["time"],
        facts=facts,
        epochs=tuple(epochs[number] for number in sorted(epochs)),
        results=last.get("results", {}),
        error=last.get("error", ""),
    )


def read_run(folder: Path) -> Run | None:
    """Read the journals in a folder; None if there are none."""
    return summarize(folder, merge(*(read_events(path) for path in sorted(folder.glob(PATTERN)))))


def find_runs(*roots: Path) -> list[Run]:
    """All runs in and below folders except those that were set aside; the oldest first."""
    folders: set[Path] = set()
    for root in roots:
        for folder, names, files in os.walk(root):
            names[:] = [name for name in names if ".old-" not in name and not name.startswith(".")]
            if any(name.startswith("journal") and name.endswith(".jsonl") for name in files):
                folders.add(Path(folder).resolve())
    runs = (read_run(folder) for folder in folders)
    return sorted((run for run in runs if run), key=lambda run: (run.started, run.run_id))


def _decisive(events: list[Event]) -> Event:
    """The event with the run's status: the end of the whole run, else the status of the worst task."""
    last = {event.get("task"): event for event in events if event["event"] in ("started", "status")}
    finished = [event for event in last.values() if event.get("status") == "finished" and "results" in event]
    if finished:
        return finished[-1]
    for status in ("failed", "stopped", None, "requeued"):
        if of_status := [event for event in last.values() if event.get("status") == status]:
            return of_status[-1]
    return {}


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinities as text, NumPy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
