"""The local executor: one task after the other, on this machine."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from l3embedding.jobs.chain import Task, require_inputs
from l3embedding.utils.files import make_folder

logger = logging.getLogger(__name__)

_CHATTER = re.compile(
    r"absl::InitializeLog|oneDNN custom operations|TensorFlow Lite XNNPACK|Failed to resize buffer"
    r"|quantized inputs were expected|warnings\.warn\($|^fully_quantize:"
)
"""Lines that TensorFlow's C++ code prints at every start; they go to the log only."""


_PR_SET_PDEATHSIG = 1
"""From Linux' `sys/prctl.h`."""


class StageFailed(RuntimeError):
    """A stage ended with an error; the message names it and its log."""


def local_log(task: Task, log_dir: Path) -> Path:
    """The log of a task."""
    return log_dir / f"{task.file_name}.log"


def run_tasks(tasks: list[Task], log_dir: Path) -> None:
    """Run tasks in order, skipping those that are done.

    Parameters
    ----------
    tasks
        Parents first.
    log_dir
        Each task's output goes to `STAGE,LABEL.log` there as well as to this process's output.

    Raises
    ------
    InputError
        A task reads a path that does not exist; none is started.
    StageFailed
        A task failed; those after it are not started.
    """
    require_inputs(tasks)
    for position, task in enumerate(tasks, start=1):
        heading = f"[{position}/{len(tasks)}] {task.name}"
        if task.stage_folder.is_done():
            logger.info("%s: done already", heading)
            continue
        logger.info("%s: %s", heading, task.stage.summary)
        started = time.monotonic()
        log = local_log(task, make_folder(log_dir))
        if status := _run(task, log):
            raise StageFailed(f"{task.name} failed with exit status {status}; its log is {log}")
        logger.info("%s: finished in %.0f s", heading, time.monotonic() - started)


def _run(task: Task, log: Path) -> int:
    command = task.command()
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(command)}\n")
        file.flush()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        try:
            assert process.stdout
            for line in process.stdout:
                file.write(line)
                file.flush()
                if not _CHATTER.search(line):
                    sys.stdout.write(line)
                    sys.stdout.flush()
            return process.wait()
        except BaseException:
            # No stage may write on after its launcher has ended.
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise


def _die_with_parent() -> None:
    """Ask the kernel to end this process with its launcher, even if that is killed with -9.

    An orphan would hold the folder's lock, and write on while the launcher's next run waits for it.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
