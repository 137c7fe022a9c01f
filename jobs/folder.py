"""A stage's folder: what makes a run skippable, resumable, and safe from a second writer.

The folder holds the stage's outputs and three files of ours:

`config.json`   written first: the stage, every parameter, the inputs, the signature
`done.json`     written last: the same, the results, and who, when, how long, how much memory
`.lock`         held while a program works there

The *signature* is a hash of the parameters and of what the inputs hold. A stage whose `done.json`
bears the present signature is skipped; one without `done.json` is taken up where it stopped; output
made with another signature is set aside under a new name, never mixed with the new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from data.errors import InputError
from data.files import make_folder, read_json, remove_leftovers, write_json

CONFIG = "config.json"
DONE = "done.json"
_LOCK = ".lock"
_LOCK_PATIENCE_S = 5.0
_FORMAT = 1
"""Counts the changes of a stage's output format; output of another format is made again."""


@dataclass(frozen=True)
class StageFolder:
    """The folder of one run of one stage.

    Attributes
    ----------
    stage
        Name of the stage.
    path
        The folder.
    parameters
        All that decides the result, beside the inputs.
    inputs
        Flag name to path.
    """

    stage: str
    path: Path
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Path]

    @cached_property
    def signature(self) -> str:
        """Hash the parameters and what the inputs hold.

        Raises
        ------
        InputError
            An input is missing, or was left unfinished by an earlier stage.
        """
        inputs = {name: fingerprint(path, besides=self.path) for name, path in self.inputs.items()}
        text = json.dumps([_FORMAT, self.stage, dict(self.parameters), inputs], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def is_done(self) -> bool:
        """Say whether the folder holds the finished result of these parameters and inputs."""
        done = self.path / DONE
        try:
            return done.is_file() and read_json(done).get("signature") == self.signature
        except InputError:
            return False

    def state(self) -> str:
        """Say in a word how things stand: done, running, stopped, outdated, or to do."""
        if self.is_running():
            return "running"
        if self.is_done():
            return "done"
        if (self.path / DONE).is_file():
            return "outdated"
        return "stopped" if (self.path / CONFIG).is_file() else "to do"

    def is_running(self) -> bool:
        """Say whether a program holds the folder's lock."""
        try:
            with open(self.path / _LOCK, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder for writing: make it, lock it, clear what a killed run left half-written.

        Raises
        ------
        InputError
            The folder cannot be written to, holds files of somebody else, or another program is
            writing to it.
        """
        make_folder(self.path)
        with open(self.path / _LOCK, "a+", encoding="utf-8") as lock:
            if not _acquire(lock):
                lock.seek(0)
                raise InputError(f"{self.path} is being written to by another run: {lock.read().strip()}.")
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            self._make_ready()
            yield

    def finish(self, results: Mapping[str, Any], started: float) -> None:
        """Write `done.json`.

        Parameters
        ----------
        results
            What the stage found, for the next ones and for the report.
        started
            `time.time()` at the start.
        """
        finished = time.time()
        record = self._record() | {
            "results": dict(results),
            "host": socket.gethostname(),
            "job_id": os.environ.get("SLURM_JOB_ID"),
            "started": _iso(started),
            "finished": _iso(finished),
            "elapsed_s": round(finished - started, 3),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }
        write_json(self.path / DONE, record)

    def _record(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "signature": self.signature,
            "parameters": dict(self.parameters),
            "inputs": {name: os.path.abspath(path) for name, path in self.inputs.items()},
        }

    def _make_ready(self) -> None:
        record = self._record()
        held = [entry for entry in self.path.iterdir() if entry.name != _LOCK]
        config = self.path / CONFIG
        if config.is_file():
            if read_json(config).get("signature") != record["signature"]:
                self._set_aside(held)
        elif held:
            raise InputError(
                f"{self.path} holds files that no stage wrote ({held[0].name}, ...). Choose an empty output folder."
            )
        for folder, _, _ in os.walk(self.path):
            remove_leftovers(folder)
        write_json(config, record)

    def _set_aside(self, entries: list[Path]) -> None:
        aside = self.path.with_name(f"{self.path.name}.old-{datetime.now():%Y%m%dT%H%M%S%f}")
        aside.mkdir()
        for entry in entries:
            shutil.move(entry, aside / entry.name)


def stage_folders(run_dir: Path) -> list[Path]:
    """List the stage folders below `run_dir`, but for those set aside."""
    found = []
    for folder, names, files in os.walk(run_dir):
        names[:] = sorted(name for name in names if ".old-" not in name)
        if CONFIG in files:
            found.append(Path(folder))
            names.clear()
    return found


def fingerprint(path: Path, besides: Path | None = None) -> str:
    """Say in a short text what a stage's input holds.

    Within a finished stage's folder it is that stage's signature; for a run's folder, those of its
    stages, but for the folder `besides`; for anything else, names, sizes and times of the files.

    Raises
    ------
    InputError
        The path is missing, or lies in the folder of a stage that has not finished.
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
    return _hash(_describe(file, path) for file in _files(path))


def _acquire(lock: IO[str]) -> bool:
    """Take the lock, waiting a little for a run that has just been killed to go away."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, names, files in os.walk(path):
        names.sort()
        yield from (Path(folder, name) for name in sorted(files))


def _describe(file: Path, root: Path) -> str:
    status = file.stat()
    return f"{os.path.relpath(file, root)} {status.st_size} {status.st_mtime_ns}"


def _hash(lines: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
