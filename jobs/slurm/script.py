"""The script of a job: a pure function of its task, so that it can be read before it is submitted.

The resources are those of the numbered job file that a person would submit by hand
(`jobs/emb_approx_mse/.../NN-name.sbatch`): its `#SBATCH` lines are copied, so that they are declared once.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from l3embedding.jobs.chain import Task
from l3embedding.jobs.local import local_log
from l3embedding.settings import Experiment, SlurmSettings
from l3embedding.utils.errors import InputError

JOBS = Path(__file__).resolve().parent.parent
SITE = Path(os.environ.get("SEA_SITE") or JOBS / "site.sh")
SEED = "seed"
"""The parameter in which the tasks of an array may differ."""


def num_tasks(task: Task, slurm: SlurmSettings) -> int:
    """How many array tasks share a task's work; 1 is no array."""
    return slurm.array_tasks if task.stage.divisible else 1


def job_file(task: Task) -> Path:
    """The numbered job file of a task."""
    number, folder, name = task.stage.number, JOBS, task.stage.name
    if number in (2, 3):
        # A student that learns the teacher's own embedding needs what one that learns its PCA needs.
        name += f"-{task.arguments['reduction'].mode}".replace("-mse", "-pca")
    if number == 5:
        name += "-pca"
    if number in (5, 6):
        downstream = JOBS / "emb_approx_mse" / "downstream"
        folder = downstream / task.arguments["dataset"].name
        # A data set without job files of its own needs what one of the others needs.
        folder = folder if folder.is_dir() else downstream / "sonyc_ust"
    elif number is not None and number <= 4:
        folder = JOBS / "emb_approx_mse" / "upstream"
    return folder / f"{name}.sbatch"


def build_script(
    tasks: Sequence[Task], header: str, experiment: Experiment, cwd: Path, log_dir: Path, python: str
) -> str:
    """Write the script that runs a task, as an array if several tasks share its work, or an array over seeds.

    Parameters
    ----------
    tasks
        One task, or several that differ only in the seed: then a task's index in the array is its seed.
    header
        Text of the job file, whose resources are copied.
    experiment
        Its settings of Slurm and of the sheet.
    cwd, log_dir
        Where relative paths start, and where logs go.
    python
        The interpreter, unless the site sets another.
    """
    first, slurm = tasks[0], experiment.slurm
    name, shared_by = first.name, num_tasks(first, slurm)
    log = log_file(first, log_dir, shared_by)
    flags = [_split(task.flags()) for task in tasks]
    common, own, indices, preamble = flags[0], [], "", []
    if len(tasks) > 1:
        common = [flag for flag in flags[0] if all(flag in others for others in flags)]
        cases = zip((task.arguments[SEED] for task in tasks), flags, strict=True)
        set_own = [
            f"    {seed}) set -- {_join(flag for flag in each if flag not in common)} ;;" for seed, each in cases
        ]
        preamble, own = ["case $SLURM_ARRAY_TASK_ID in", *set_own, "esac"], ['"$@"']
        indices = ",".join(str(task.arguments[SEED]) for task in tasks)
        name, log = with_any_seed(name, "*"), log.with_name(with_any_seed(log.name, "@TASK@"))
    elif shared_by > 1:
        own, indices = [f'--task-index "$SLURM_ARRAY_TASK_ID" --num-tasks {shared_by}'], f"0-{shared_by - 1}"
    resources = [line.rstrip() for line in header.splitlines() if line.startswith("#SBATCH ")]
    lines = [
        "#!/usr/bin/env bash",
        f"# {name}: {first.stage.summary}.",
        *(line for line in resources if not re.search(r"--(array|job-name|output)\b", line)),
        f"#SBATCH --job-name={_quote(name)}",
        f"#SBATCH --chdir={_quote(str(cwd.resolve()))}",
        f"#SBATCH --output={_quote(str((cwd / log).resolve()).replace('%', '%%').replace('@TASK@', '%a'))}",
        *([f"#SBATCH --array={indices}%{slurm.array_throttle}"] if indices else []),
        "",
        f': "${{SEA_PYTHON:={python}}}"',
        *(f"export {variable}={shlex.quote(value)}" for variable, value in experiment.tracking.variables.items()),
        f"source {shlex.quote(str(JOBS / 'activate.sh'))}",
        *preamble,
    ]
    command = [
        f"stage {first.stage.name}",
        f"--wait --max-timeouts {slurm.max_timeouts}",
        *own,
        *map(shlex.join, common),
    ]
    return "\n".join([*lines, " \\\n    ".join(command), ""])


def with_any_seed(name: str, seed: str) -> str:
    """A task's name with something else for its seed."""
    return re.sub(r"(?<=,seed=)\d+", seed, name)


def log_file(task: Task, log_dir: Path, shared_by: int) -> Path:
    """Where a task's log goes; that of an array has `@TASK@` for the index."""
    log = local_log(task, log_dir)
    return log.with_name(f"{log.stem}-@TASK@.log") if shared_by > 1 else log


def stage_options(task: Task, experiment: Experiment) -> list[str]:
    """Options for sbatch that the experiment gives this task's stage."""
    words = []
    for entry in experiment.slurm.sbatch:
        number, _, options = entry.partition(":")
        if number.strip() == "*" or (task.stage.number is not None and number.strip() == f"{task.stage.number:02}"):
            words += shlex.split(options)
    return words


def _split(words: list[str]) -> list[list[str]]:
    """Split a command line before each flag."""
    flags: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not flags:
            flags.append([])
        flags[-1].append(word)
    return flags


def _join(flags: Iterable[list[str]]) -> str:
    return shlex.join(word for flag in flags for word in flag)


def _quote(text: str) -> str:
    """Quote a value of an `#SBATCH` line, which is not read by a shell."""
    if '"' in text or "\n" in text or "\\" in text:
        raise InputError(f"{text!r} cannot be given to Slurm; choose a name without quotes, backslashes and line ends.")
    return f'"{text}"'
