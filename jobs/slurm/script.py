"""The script of a job: a pure function of its task, so that it can be read before it is submitted.

The resources are those of the numbered job file that a person would submit by hand
(`jobs/emb_approx_mse/.../NN-name.sbatch`): its `#SBATCH` lines are copied, so that they are declared once.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
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


def build_script(task: Task, header: str, experiment: Experiment, cwd: Path, log_dir: Path, python: str) -> str:
    """Write the script that does a task.

    Parameters
    ----------
    task
        What is to be done.
    header
        Text of its job file, whose resources are taken over.
    experiment
        Its settings of Slurm and of the sheet.
    cwd
        Where relative paths start.
    log_dir
        Where the log goes.
    python
        The interpreter, unless the site sets another.

    Returns
    -------
    Text for sbatch.
    """
    shared_by = num_tasks(task, experiment.slurm)
    log, options = log_file(task, log_dir, shared_by), _options(task.flags())
    array = None
    if shared_by > 1:
        own = f'--task-index "$SLURM_ARRAY_TASK_ID" --num-tasks {shared_by}'
        array = _Array(f"0-{shared_by - 1}%{experiment.slurm.array_throttle}", own)
    return _script(task, task.name, header, experiment, cwd, log, python, options, array)


def build_seed_script(
    tasks: Sequence[Task], header: str, experiment: Experiment, cwd: Path, log_dir: Path, python: str
) -> str:
    """Write the script of an array of tasks that differ in nothing but the seed.

    The index of a task in the array is its seed; each has its own folder and log. Otherwise as
    `build_script`.
    """
    log = log_file(tasks[0], log_dir, 1)
    options = [_options(task.flags()) for task in tasks]
    common = [option for option in options[0] if all(option in others for others in options)]
    cases = []
    for task, each in zip(tasks, options, strict=True):
        words = [word for option in each if option not in common for word in option]
        cases.append(f"    {task.arguments[SEED]}) set -- {shlex.join(words)} ;;")
    seeds = ",".join(str(task.arguments[SEED]) for task in tasks)
    choice = ("case $SLURM_ARRAY_TASK_ID in", *cases, "esac")
    array = _Array(f"{seeds}%{experiment.slurm.array_throttle}", '"$@"', choice)
    name, log = with_any_seed(tasks[0].name, "*"), log.with_name(with_any_seed(log.name, "@TASK@"))
    return _script(tasks[0], name, header, experiment, cwd, log, python, common, array)


def with_any_seed(name: str, seed: str) -> str:
    """A task's name with something else for its seed."""
    return re.sub(r"(?<=,seed=)\d+", seed, name)


@dataclass(frozen=True)
class _Array:
    """What makes a job an array.

    Attributes
    ----------
    indices
        As `--array` takes them.
    own
        The words of the command in which its tasks differ.
    preamble
        Lines of shell before the command.
    """

    indices: str
    own: str
    preamble: tuple[str, ...] = ()


def _script(
    task: Task,
    name: str,
    header: str,
    experiment: Experiment,
    cwd: Path,
    log: Path,
    python: str,
    options: Sequence[Sequence[str]],
    array: _Array | None,
) -> str:
    directives = [line for line in resource_lines(header) if not re.search(r"--(array|job-name|output)\b", line)]
    directives += [
        f"#SBATCH --job-name={_quote(name)}",
        f"#SBATCH --chdir={_quote(str(cwd.resolve()))}",
        f"#SBATCH --output={_quote(str((cwd / log).resolve()).replace('%', '%%').replace('@TASK@', '%a'))}",
    ]
    if array:
        directives.append(f"#SBATCH --array={array.indices}")
    words = shlex.join(["--wait", "--max-timeouts", str(experiment.slurm.max_timeouts)])
    own = [array.own] if array else []
    command = [f"stage {task.stage.name}", words, *own, *map(shlex.join, options)]
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            f"# {name}: {task.stage.summary}.",
            *directives,
            "",
            f': "${{SEA_PYTHON:={python}}}"',
            *(f"export {name}={shlex.quote(value)}" for name, value in experiment.tracking.variables.items()),
            f"source {shlex.quote(str(JOBS / 'activate.sh'))}",
            *(array.preamble if array else ()),
            " \\\n    ".join(command),
            "",
        ]
    )


def resource_lines(header: str) -> list[str]:
    """The `#SBATCH` lines of a job file."""
    return [line.rstrip() for line in header.splitlines() if line.startswith("#SBATCH ")]


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


def _options(words: list[str]) -> list[list[str]]:
    """Split a command line before each flag."""
    options: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not options:
            options.append([])
        options[-1].append(word)
    return options


def _quote(text: str) -> str:
    """Quote a value of an `#SBATCH` line, which is not read by a shell."""
    if '"' in text or "\n" in text or "\\" in text:
        raise InputError(f"{text!r} cannot be told to Slurm; choose a name without quotes, backslashes and line ends.")
    return f'"{text}"'
