"""The console command `sea`: run an experiment, see what would run, how it stands and what it said."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import subprocess
import sys
import typing
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from l3embedding.cli import fetch, models, runs, students
from l3embedding.cli.program import say_errors, start_logging
from l3embedding.cli.runs import print_table
from l3embedding.jobs.chain import Task, build_chain
from l3embedding.jobs.experiment import Sweep, read_experiment
from l3embedding.jobs.local import StageFailed, folder_of, local_log, run_tasks
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder, read_json, write_json, write_text

if typing.TYPE_CHECKING:
    from l3embedding.jobs.slurm.script import JobSettings
    from l3embedding.jobs.slurm.submit import Job

logger = logging.getLogger(__name__)

EXPERIMENT = "experiment.yaml"
OVERRIDES = "overrides.json"
"""In a run's folder: the experiment's file as it was, and what `--set` replaced."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console command; returns the exit status."""
    start_logging()
    arguments = _parser().parse_args(argv)
    try:
        return say_errors(lambda: arguments.action(arguments))
    except StageFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped; the same command takes it up again", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> None:
    sweep, output_dir, tasks = _chain(arguments)
    make_folder(output_dir)
    # What was asked for lies beside what came of it.
    write_text(output_dir / EXPERIMENT, Path(arguments.experiment).read_text(encoding="utf-8"))
    write_json(output_dir / OVERRIDES, arguments.set)
    selected = _select(tasks, arguments.first, arguments.last)
    logger.info("%s: %d tasks, output in %s", arguments.experiment, len(selected), output_dir)
    os.environ.update(sweep.experiments[0].sheet_variables)
    if arguments.executor == "slurm":
        _submit(sweep, tasks, selected, output_dir)
        return
    run_tasks(selected, output_dir / "logs")
    report = output_dir / "07-report" / "tables.md"
    if selected and selected[-1].stage.number == 7:
        print(report.read_text(encoding="utf-8"))
        print(f"Report: {report.with_name('report.html')}")


def _submit(sweep: Sweep, tasks: list[Task], selected: list[Task], output_dir: Path) -> None:
    from l3embedding.jobs.slurm.submit import submit_chain

    done = {task.folder for task, state in _outlook(tasks) if state == "done"}
    jobs, settings = _jobs(sweep, [task for task in selected if task.folder not in done], output_dir)
    submitted = submit_chain(jobs, done, settings, output_dir)
    print(f"{len(submitted)} of {len(selected)} tasks are queued, the others are done already.")
    print(f"sea status --output-dir {output_dir}     how they stand; also: sea logs, sea cancel")


def _jobs(sweep: Sweep, tasks: list[Task], output_dir: Path) -> tuple[list[Job], JobSettings]:
    from l3embedding.jobs.slurm.script import JobSettings
    from l3embedding.jobs.slurm.submit import make_jobs

    settings = JobSettings.of(sweep.experiments[0])
    return make_jobs(tasks, settings, output_dir), settings


def _plan(arguments: argparse.Namespace) -> None:
    sweep, output_dir, tasks = _chain(arguments)
    outlook = _outlook(_select(tasks, arguments.first, arguments.last))
    waiting = [task for task, state in outlook if state != "done"]
    done = {task.folder for task, state in _outlook(tasks) if state == "done"}
    scripts = _scripts(sweep, waiting, done, output_dir) if arguments.executor == "slurm" else {}
    for task, state in outlook:
        print(f"# {task.name}: {state}")
        if state != "done":
            print(scripts[task.name] if scripts else shlex.join(task.command()))
    print(f"# {len(waiting)} of {len(outlook)} tasks to run")


def _scripts(sweep: Sweep, waiting: list[Task], done: set[Path], output_dir: Path) -> dict[str, str]:
    """Task name to the script of its job and the command that submits it; those of an array share them."""
    from l3embedding.jobs.slurm.cluster import sbatch_command
    from l3embedding.jobs.slurm.submit import bundle, parents_to_await, script_of

    jobs, settings = _jobs(sweep, waiting, output_dir)
    scripts = {}
    for group in bundle(jobs):
        path, script = script_of(group, settings, output_dir)
        parents = [f"<{parent.name}>" for parent in parents_to_await(group[0].task, done)]
        command = " ".join(sbatch_command(path, group[0].options, parents))
        scripts |= {job.task.name: f"# in the array of {group[0].task.name}\n" for job in group}
        scripts[group[0].task.name] = f"{script}\n$ {command}\n"
    return scripts


def _status(arguments: argparse.Namespace) -> None:
    from l3embedding.jobs.slurm.status import run_status

    _, output_dir, tasks = _chain(arguments)
    lines, remark = run_status(_outlook(tasks), output_dir)
    print_table([asdict(line) for line in lines])
    if remark:
        print(f"# Without Slurm's word: {remark}")


def _logs(arguments: argparse.Namespace) -> None:
    from l3embedding.jobs.slurm.ledger import Ledger
    from l3embedding.jobs.slurm.status import task_logs

    _, output_dir, tasks = _chain(arguments)
    submissions = Ledger(output_dir).latest()
    chosen = [task for task in tasks if task.name.startswith(arguments.stage)]
    if not chosen:
        names = ", ".join(dict.fromkeys(task.stage.name for task in tasks))
        raise InputError(f"{arguments.stage!r} begins the name of no stage; they are {names}.")
    logs = [local_log(task, output_dir / "logs") for task in chosen]
    logs += [log for task in chosen if task.name in submissions for log in task_logs(submissions[task.name])]
    logs = [log for log in dict.fromkeys(logs) if log.is_file()]
    if not logs:
        raise InputError(f"{arguments.stage} has no log in {output_dir / 'logs'} yet.")
    subprocess.run(["tail", "-n", "+1", *(["-F"] if arguments.follow else []), "--", *map(str, logs)], check=False)


def _cancel(arguments: argparse.Namespace) -> None:
    from l3embedding.jobs.slurm import cluster
    from l3embedding.jobs.slurm.ledger import Ledger

    _, output_dir, _ = _chain(arguments)
    cluster.require_slurm()
    ours = {submission.key for submission in Ledger(output_dir).latest().values()}
    queued = sorted({row.job_id for row in cluster.queue() if row.comment in ours and row.state in cluster.LIVE})
    cluster.cancel(queued)
    print(f"cancelled: {' '.join(queued)}" if queued else "nothing of this run is queued")


def _select_sensors(arguments: argparse.Namespace) -> None:
    import numpy as np
    import pandas as pd

    from l3embedding.upstream.sensor_selection import haversine_km, select_sensors

    try:
        table = pd.read_csv(arguments.sensors, dtype={"sensor": str})
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{arguments.sensors} cannot be read as a CSV table: {error}") from None
    if missing := [name for name in ("sensor", "latitude", "longitude") if name not in table]:
        raise InputError(f"{arguments.sensors} lacks the column {', '.join(missing)}.")
    places = [pd.to_numeric(table[name], errors="coerce").to_numpy(float) for name in ("latitude", "longitude")]
    chosen = select_sensors(*places, arguments.k, np.random.default_rng(arguments.seed), arguments.scale_km)
    distance = haversine_km(*places)[np.ix_(chosen, chosen)] + np.where(np.eye(len(chosen)), np.inf, 0)
    print("sensor,latitude,longitude,nearest_km")
    for index, nearest in zip(chosen, distance.min(axis=1), strict=True):
        row = table.iloc[index]
        print(f"{row['sensor']},{row['latitude']},{row['longitude']},{nearest:.3f}")


def _chain(arguments: argparse.Namespace) -> tuple[Sweep, Path, list[Task]]:
    """The experiment and its tasks; without an experiment, those of the run in the output folder."""
    if arguments.experiment is None:
        output_dir = Path(arguments.output_dir) if arguments.output_dir else _latest_run()
        sweep = read_experiment(output_dir / EXPERIMENT, [*read_json(output_dir / OVERRIDES), *arguments.set])
    else:
        sweep = read_experiment(arguments.experiment, arguments.set)
        output_dir = Path(arguments.output_dir or Path("outputs", sweep.experiments[0].name))
    return sweep, output_dir, build_chain(sweep, output_dir)


def _latest_run() -> Path:
    runs = sorted(Path("outputs").glob(f"*/{EXPERIMENT}"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise InputError("There is no run in ./outputs. Name an experiment, or the run's folder by --output-dir.")
    logger.info("the latest run: %s", runs[-1].parent)
    return runs[-1].parent


def _select(tasks: list[Task], first: int, last: int) -> list[Task]:
    """Keep the tasks of stages `first` to `last`; what comes before the chain belongs to stage 0."""
    selected = [task for task in tasks if first <= (task.stage.number or 0) <= last]
    if not selected:
        raise InputError(f"No stage lies from {first} until {last}; they are numbered 0 to 7.")
    return selected


def _outlook(tasks: list[Task]) -> list[tuple[Task, str]]:
    """The state of each task; one that is done is outdated if what it reads will be made anew."""
    waiting: set[Path] = set()
    outlook = []
    for task in tasks:
        state = folder_of(task).state()
        if state == "done" and any(parent.folder in waiting for parent in task.parents):
            state = "outdated"
        if state != "done":
            waiting.add(task.folder)
        outlook.append((task, state))
    return outlook


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sea", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, action, summary in (
        ("run", _run, "run an experiment; run again, it skips what is done and takes up what is not"),
        ("plan", _plan, "print what would run, and the command lines or job scripts"),
        ("status", _status, "print how each task of a run stands"),
        ("logs", _logs, "print what a stage said"),
        ("cancel", _cancel, "cancel the Slurm jobs of a run"),
    ):
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        command.set_defaults(action=action)
        of_a_run = name in ("status", "logs", "cancel")
        command.add_argument(
            "experiment",
            metavar="EXPERIMENT",
            nargs="?" if of_a_run else None,
            help="YAML file, such as experiments/demo.yaml" + (" (default: the latest run's)" if of_a_run else ""),
        )
        if name == "logs":
            command.add_argument("stage", metavar="STAGE", help="number or name, such as 03")
            command.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
        command.add_argument("--output-dir", metavar="DIR", help="folder of the run (default: outputs/NAME)")
        command.add_argument(
            "--set", metavar="KEY=VALUE", action="append", default=[], help="replace a value of the experiment"
        )
        if not of_a_run:
            command.add_argument("--executor", choices=["local", "slurm"], default="local", help="who runs the stages")
            command.add_argument("--from", dest="first", metavar="N", type=int, default=0, help="first stage (0 to 7)")
            command.add_argument("--until", dest="last", metavar="N", type=int, default=7, help="last stage (0 to 7)")
    sensors = commands.add_parser("sensors", help="choose sensors that lie apart").add_subparsers(required=True)
    select = sensors.add_parser("select", description="Choose sensors by a k-DPP over their distances.")
    select.set_defaults(action=_select_sensors)
    select.add_argument("sensors", metavar="CSV", help="table with the columns sensor, latitude, longitude (degrees)")
    select.add_argument("-k", type=int, default=15, help="how many (default: 15)")
    select.add_argument("--seed", type=int, default=20180216)
    select.add_argument(
        "--scale-km", type=float, help="distance over which likeness falls by a factor of e (default: the mean)"
    )
    runs.add_commands(commands)
    models.add_commands(commands)
    students.add_commands(commands)
    fetch.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
