"""A stage's folder: what makes a run skippable, resumable, and safe from a second writer.

The folder holds the stage's outputs and files of ours:

`config.json`   written first: the stage, its settings, those that are signed, the inputs, the signature
`parts/`        where several tasks share the work: the results of each
`done.json`     written last: the same, the results, and host, job, times and peak memory
`.lock`         held while a program works there; `.lock-3-of-15` by a task for its share

The *signature* is a hash of the settings that decide the result and of what the inputs hold. A stage whose
`done.json` has the present signature is skipped; one without `done.json` is resumed; output of another signature
is set aside under a new name, never mixed with the new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import resource
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

from l3embedding.jobs.journal import read_run
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder, read_json, remove_leftovers, write_json

logger = logging.getLogger(__name__)

CONFIG = "config.json"
DONE = "done.json"
PARTS = "parts"
_LOCK = ".lock"
_GATE = ".gate"
"""Held while a task enters the folder; taken before `_LOCK`."""
_FINISH = ".finish"
"""Held while the last task gathers what all have found."""
_OURS = (_LOCK, _GATE, _FINISH)
LOCK_PATIENCE_S = 5.0
"""How long to wait for another writer: a run that was just killed may take a moment to end."""
_LOG_WAITING_S = 60.0
_FORMAT = 2
"""Version of the stages' output formats; output of another version is replaced."""


Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """The part of a stage's work that one of several tasks does."""

    index: int = 0  # the task, from 0
    count: int = 1  # how many there are

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Pick this task's items; every item falls to exactly one task."""
        return list(items[self.index :: self.count])


WHOLE = Share()
"""All of the work, by one task."""


@dataclass(frozen=True)
class StageFolder:
    """The folder of one run of one stage."""

    stage: str  # name of the stage
    path: Path  # the folder
    signed: Mapping[str, Any]  # the settings that decide the result, beside the inputs
    inputs: Mapping[str, Path]  # flag name to path
    parameters: Mapping[str, Any] = field(default_factory=dict)  # all settings, for the record

    @cached_property
    def signature(self) -> str:
        """Hash the signed settings and what the inputs hold.

        Raises
        ------
        InputError
            An input is missing, or was left unfinished by an earlier stage.
        """
        text = json.dumps([_FORMAT, self.stage, self.signed, self._fingerprints], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return {name: fingerprint(path, besides=self.path) for name, path in self.inputs.items()}

    @property
    def run_id(self) -> str:
        """Identifies this folder's output of this signature, the same in every attempt."""
        return hashlib.sha256(f"{self.signature} {self.path.resolve()}".encode()).hexdigest()[:12]

    def is_done(self) -> bool:
        """Whether the folder holds the finished result of these settings and inputs."""
        done = self.path / DONE
        try:
            return done.is_file() and read_json(done).get("signature") == self.signature
        except InputError:
            return False

    def state(self) -> str:
        """How it stands: done, running, failed, interrupted, outdated or to do."""
        if self.is_running():
            return "running"
        if self.is_done():
            return "done"
        if self.changes():
            return "outdated"
        if not (self.path / CONFIG).is_file():
            return "to do"
        run = read_run(self.path)
        return "failed" if run and run.status == "failed" else "interrupted"

    def changes(self) -> list[str]:
        """Why what the folder holds is outdated, such as `student.dim 128 -> 64`; empty where it is not, or empty."""
        config = self.path / CONFIG
        try:
            held = read_json(config) if config.is_file() else None
            if held is None or held.get("signature") == self.signature:
                return []
        except InputError:
            return []
        before, now = held.get("signed", {}), json.loads(json.dumps(self.signed, default=str))
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        changed = [f"{name} {before.get(name)} -> {now.get(name)}" for name in names]
        read = held.get("fingerprints", {})
        changed += [f"{name} has changed" for name, value in self._fingerprints.items() if read.get(name) != value]
        return changed or ["its output format has changed"]

    def is_running(self) -> bool:
        """Whether a program holds the folder, or a share of it."""
        try:
            with open(self.path / _LOCK, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, PermissionError):
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def opened(self, share: Share = WHOLE, patience_s: float = LOCK_PATIENCE_S) -> Iterator[None]:
        """Hold the folder for writing: make it, lock it, and remove what a killed run left half-written.

        Tasks with different shares may work in it at the same time; one that does the whole excludes all others.

        Parameters
        ----------
        share
            The part of the work to be done.
        patience_s
            How long to wait for another writer of the same, s.

        Raises
        ------
        InputError
            The folder cannot be written to, holds files that no stage wrote, or another program is
            writing to it.
        """
        make_folder(self.path)
        if share == WHOLE:
            with ExitStack() as held:
                with self._locked(_GATE, patience_s):
                    held.enter_context(self._locked(_LOCK, patience_s))
                    self._make_ready(share)
                yield
            return
        with self._locked(f"{_LOCK}-{share.index}-of-{share.count}", patience_s), open(self.path / _LOCK, "a+") as lock:
            with self._locked(_GATE, patience_s):
                if self._holds_other_output():
                    # Setting output aside needs the folder to itself.
                    self._acquire(lock, fcntl.LOCK_EX, patience_s)
                    self._make_ready(WHOLE)
                self._acquire(lock, fcntl.LOCK_SH, patience_s)
                self._make_ready(share)
            yield

    def part(self, share: Share) -> dict[str, Any] | None:
        """The results of the task with this share; None if it has not finished."""
        path = self._part_file(share)
        return read_json(path)["results"] if path.is_file() else None

    def parts_done(self) -> int:
        """Number of tasks that have finished their share."""
        return sum(1 for _ in (self.path / PARTS).glob("*.json"))

    def finish_part(self, share: Share, results: Mapping[str, Any], started: float) -> None:
        """Record the results of the task with this share."""
        write_json(self._part_file(share), self._outcome(results, started))

    @contextmanager
    def gathering(self, share: Share, results: Mapping[str, Any]) -> Iterator[list[dict[str, Any]] | None]:
        """Yield the results of all tasks to the last one to finish, and None to the others."""
        if share == WHOLE:
            yield [dict(results)]
            return
        with self._locked(_FINISH, float("inf")):
            parts = [self.part(Share(index, share.count)) for index in range(share.count)]
            yield None if self.is_done() or None in parts else [part for part in parts if part is not None]

    def finish(self, results: Mapping[str, Any], started: float) -> None:
        """Write `done.json` with results for later stages and the report; `started` is `time.time()` at the start."""
        if parts := [read_json(file) for file in sorted((self.path / PARTS).glob("*.json"))]:
            started = min(datetime.fromisoformat(part["started"]).timestamp() for part in parts)
        outcome = self._outcome(results, started)
        if parts:
            outcome["peak_memory_mb"] = max(part["peak_memory_mb"] for part in parts)
        self._clear()
        write_json(self.path / DONE, self._record() | outcome)

    def _part_file(self, share: Share) -> Path:
        return self.path / PARTS / f"{share.index:04d}-of-{share.count:04d}.json"

    @staticmethod
    def _outcome(results: Mapping[str, Any], started: float) -> dict[str, Any]:
        finished = time.time()
        return {
            "results": dict(results),
            "host": socket.gethostname(),
            "job_id": os.environ.get("SLURM_JOB_ID"),
            "started": _iso(started),
            "finished": _iso(finished),
            "elapsed_s": round(finished - started, 3),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }

    def _record(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "signature": self.signature,
            "parameters": dict(self.parameters),
            "signed": dict(self.signed),
            "inputs": {name: os.path.abspath(path) for name, path in self.inputs.items()},
            "fingerprints": self._fingerprints,
        }

    @contextmanager
    def _locked(self, name: str, patience_s: float) -> Iterator[None]:
        with open(self.path / name, "a+", encoding="utf-8") as lock:
            self._acquire(lock, fcntl.LOCK_EX, patience_s)
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            yield

    def _acquire(self, lock: IO[str], mode: int, patience_s: float) -> None:
        started = logged = time.monotonic()
        while True:
            try:
                fcntl.flock(lock, mode | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "several tasks"
            except OSError as error:
                raise InputError(
                    f"{self.path} is on a file system without locks: {error}. Mount it with flock."
                ) from None
            now = time.monotonic()
            if now - started > patience_s:
                raise InputError(f"{self.path} is being written to by another run: {holder}.")
            if now - logged > _LOG_WAITING_S:
                logged = now
                logger.info("waiting for %s, which writes to %s", holder, self.path)
            time.sleep(0.1)

    def _holds_other_output(self) -> bool:
        config = self.path / CONFIG
        return config.is_file() and read_json(config).get("signature") != self.signature

    def _make_ready(self, share: Share) -> None:
        # A task with a label has its folder within that of the stage: it belongs to another run.
        held = [entry for entry in self.path.iterdir() if not (entry.name.startswith(_OURS) or _is_stage(entry))]
        if self._holds_other_output():
            self._set_aside(held)
            self._bring_back()
        elif held and not (self.path / CONFIG).is_file():
            raise InputError(
                f"{self.path} holds files that no stage wrote ({held[0].name}, ...). Choose an empty output folder."
            )
        if share == WHOLE:
            # With shares, half-written files may belong to another task that is still running.
            self._clear()
        write_json(self.path / CONFIG, self._record())

    def _clear(self) -> None:
        """Remove what killed writers left half-written; no other writer may be running."""
        for folder, names, _ in os.walk(self.path):
            names[:] = [name for name in names if not _is_stage(Path(folder, name))]
            remove_leftovers(folder)

    def _set_aside(self, entries: list[Path]) -> None:
        aside = self.path.with_name(f"{self.path.name}.old-{datetime.now():%Y%m%dT%H%M%S%f}")
        aside.mkdir()
        for entry in entries:
            shutil.move(entry, aside / entry.name)
        logger.info("%s held output of other settings, which is now in %s", self.path, aside.name)

    def _bring_back(self) -> None:
        """Move back what was set aside earlier, if it is output of this very signature."""
        for aside in sorted(self.path.parent.glob(f"{self.path.name}.old-*"), reverse=True):
            config = aside / CONFIG
            if config.is_file() and read_json(config).get("signature") == self.signature:
                for entry in aside.iterdir():
                    shutil.move(entry, self.path / entry.name)
                aside.rmdir()
                logger.info("%s holds the output of these settings again, from %s", self.path, aside.name)
                return


def ancestors(inputs: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """The records (`done.json`) of all stages that inputs derive from, the nearest first."""
    seen: set[Path] = set()
    todo = [Path(path).resolve() for path in inputs.values()]
    while todo:
        path = todo.pop(0)
        folder = next((each for each in (path, *path.parents) if (each / DONE).is_file()), None)
        if folder is None or folder in seen:
            continue
        seen.add(folder)
        yield (record := read_json(folder / DONE))
        todo += map(Path, record.get("inputs", {}).values())


def stage_folders(run_dir: Path) -> list[Path]:
    """List the stage folders below `run_dir`, but for those set aside."""
    found = []
    for folder, names, files in os.walk(run_dir):
        names[:] = sorted(name for name in names if ".old-" not in name)
        if CONFIG in files:
            found.append(Path(folder))
            names[:] = [name for name in names if _is_stage(Path(folder, name))]
    return found


def _is_stage(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def fingerprint(path: Path, besides: Path | None = None) -> str:
    """Identify the content of a stage's input.

    Within a finished stage's folder it is that stage's signature; for a run's folder, those of its
    stages; for anything else, names, sizes and times of the files; either without the folder `besides`.

    Raises
    ------
    InputError
        The path is missing, or is in the folder of a stage that has not finished.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    for folder in (path, *path.resolve().parents):
        if (folder / DONE).is_file():
            return f"{read_json(folder / DONE)['signature']}/{os.path.relpath(path.resolve(), folder.resolve())}"
        if (folder / CONFIG).is_file() and "signature" in read_json(folder / CONFIG):
            raise InputError(f"{folder} is unfinished: the stage that writes it must end first. Run it again.")
    if path.is_dir() and (stages := stage_folders(path)):
        done = [folder / DONE for folder in stages if folder != besides and (folder / DONE).is_file()]
        return _hash(read_json(file)["signature"] for file in done)
    described = ((os.path.relpath(file, path), file.stat()) for file in _files(path, besides))
    return _hash(f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in described)


def _files(path: Path, besides: Path | None) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, names, files in os.walk(path):
        # An output folder within the input is no part of it.
        names[:] = sorted(name for name in names if Path(folder, name) != besides)
        yield from (Path(folder, name) for name in sorted(files))


def _hash(lines: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
