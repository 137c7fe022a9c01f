"""The console command `sea`: plan, run and follow experiments, and work with models, data sets and results."""

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

from l3embedding.cli import evaluate, fetch, models, runs, students
from l3embedding.cli.program import report_errors, start_logging
from l3embedding.cli.runs import print_table
from l3embedding.jobs.chain import Task, build_chain
from l3embedding.jobs.experiment import Sweep, read_experiment
from l3embedding.jobs.local import StageFailed, local_log, run_tasks
from l3embedding.jobs.outlook import Standing, outlook
from l3embedding.jobs.slurm.script import JOBS
from l3embedding.jobs.stages import REPORT, STAGES
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import make_folder, read_json, write_json, write_text

if typing.TYPE_CHECKING:
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
        return report_errors(lambda: arguments.action(arguments))
    except StageFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has closed it; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted; the same command resumes it", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace) -> None:
    sweep, output_dir, tasks = _chain(arguments)
    selected = _select(tasks, arguments.first, arguments.last)
    make_folder(output_dir)
    write_text(output_dir / EXPERIMENT, Path(arguments.experiment).read_text(encoding="utf-8"))
    write_json(output_dir / OVERRIDES, arguments.set)
    logger.info("%s: %d tasks, output in %s", arguments.experiment, len(selected), output_dir)
    os.environ.update(sweep.experiments[0].tracking.variables)
    if arguments.executor == "slurm":
        _submit(sweep, tasks, selected, output_dir)
        return
    run_tasks(selected, output_dir / "logs")
    report = output_dir / REPORT / "tables.md"
    if selected[-1].stage.name == REPORT:
        print(report.read_text(encoding="utf-8"))
        print(f"Report: {report.with_name('report.html')}")


def _submit(sweep: Sweep, tasks: list[Task], selected: list[Task], output_dir: Path) -> None:
    from l3embedding.jobs.slurm.submit import submit_chain

    done = _done(outlook(tasks))
    jobs = _jobs(sweep, [task for task in selected if task.folder not in done], output_dir)
    submitted = submit_chain(jobs, done, sweep.experiments[0], output_dir)
    print(f"{len(submitted)} of {len(selected)} tasks are queued, the others are done already.")
    print(f"sea status --output-dir {output_dir}     prints their state; see also sea logs, sea cancel")


def _done(standings: Sequence[Standing]) -> set[Path]:
    return {task.folder for task, state, _ in standings if state == "done"}


def _jobs(sweep: Sweep, tasks: list[Task], output_dir: Path) -> list[Job]:
    from l3embedding.jobs.slurm.submit import make_jobs

    return make_jobs(tasks, sweep.experiments[0], output_dir)


def _plan(arguments: argparse.Namespace) -> None:
    sweep, output_dir, tasks = _chain(arguments)
    everything = outlook(tasks)
    selected = {task.folder for task in _select(tasks, arguments.first, arguments.last)}
    standings = [each for each in everything if each.task.folder in selected]
    waiting = [each.task for each in standings if each.state != "done"]
    if arguments.commands:
        scripts = {}
        if arguments.executor == "slurm":
            scripts = _scripts(sweep, waiting, _done(everything), output_dir)
        for task in waiting:
            print(f"# {task.name}\n{scripts.get(task.name) or shlex.join(task.command())}")
    else:
        print_table(
            [
                {"stage": task.stage.name, "task": task.label, "state": state, "why": why, "work": _work(task, state)}
                for task, state, why in standings
            ]
        )
    print(f"# {len(waiting)} of {len(standings)} tasks to run")


def _work(task: Task, state: str) -> str:
    """How much there is to do; how long it took before, where it was done before."""
    if state == "done":
        return ""
    done = task.folder / "done.json"
    before = f"took {read_json(done)['elapsed_s']:.0f} s before" if done.is_file() else ""
    return ", ".join(filter(None, (task.work, before)))


def _scripts(sweep: Sweep, waiting: list[Task], done: set[Path], output_dir: Path) -> dict[str, str]:
    """Task name to the script of its job and the command that submits it; those of an array share them."""
    from l3embedding.jobs.slurm.cluster import sbatch_command
    from l3embedding.jobs.slurm.submit import bundle, parents_to_await, script_of

    scripts: dict[str, str] = {}
    for group in bundle(_jobs(sweep, waiting, output_dir)):
        path, script = script_of(group, sweep.experiments[0], output_dir)
        parents = [f"<{parent.name}>" for parent in parents_to_await(group[0].task, done)]
        command = " ".join(sbatch_command(path, group[0].options, parents))
        scripts |= {job.task.name: f"# in the array of {group[0].task.name}\n" for job in group}
        scripts[group[0].task.name] = f"{script}\n$ {command}\n"
    return scripts


def _status(arguments: argparse.Namespace) -> None:
    from l3embedding.jobs.slurm.status import run_status

    _, output_dir, tasks = _chain(arguments)
    rows, remark = run_status(outlook(tasks), output_dir)
    print_table([asdict(row) for row in rows])
    if remark:
        print(f"# The state in Slurm is unknown: {remark}")


def _logs(arguments: argparse.Namespace) -> None:
    from l3embedding.jobs.slurm.ledger import Ledger
    from l3embedding.jobs.slurm.status import task_logs

    _, output_dir, tasks = _chain(arguments)
    submissions = Ledger(output_dir).latest()
    chosen = [task for task in tasks if task.name.startswith(arguments.stage)]
    if not chosen:
        number = _stage_number(arguments.stage)
        chosen = [task for task in tasks if task.stage.number == number]
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
    latitude, longitude = (
        pd.to_numeric(table[name], errors="coerce").to_numpy(float) for name in ("latitude", "longitude")
    )
    rng = np.random.default_rng(arguments.seed)
    chosen = select_sensors(latitude, longitude, arguments.k, rng, arguments.scale_km)
    distance = haversine_km(latitude, longitude)[np.ix_(chosen, chosen)] + np.where(np.eye(len(chosen)), np.inf, 0)
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


def _select(tasks: list[Task], first: str, last: str) -> list[Task]:
    """Keep the tasks from one stage to another; what comes before the chain belongs to stage 0."""
    numbers = range(_stage_number(first), _stage_number(last) + 1)
    selected = [task for task in tasks if (task.stage.number or 0) in numbers]
    if not selected:
        raise InputError(f"There is no stage from {first} to {last} in this chain.")
    return selected


def _stage_number(text: str) -> int:
    """The number of a stage that is given by number or by a part of its name."""
    numbered = {str(stage.number): stage for stage in STAGES.values() if stage.number is not None}
    named = [stage for stage in numbered.values() if stage.name.startswith(text) or stage.name[3:].startswith(text)]
    named = named or [stage for stage in numbered.values() if text in stage.name]
    stage = numbered.get(text.lstrip("0") or "0") or (named[0] if len(named) == 1 else None)
    if stage is None or stage.number is None:
        raise InputError(f"{text!r} is not a stage; they are {', '.join(each.name for each in numbered.values())}.")
    return stage.number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sea", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, action, summary in (
        ("run", _run, "run an experiment; run again, it skips what is done and resumes what is not"),
        ("plan", _plan, "print what would run, and why"),
        ("status", _status, "print the state of each task of a run"),
        ("logs", _logs, "print the log of a stage"),
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
            command.add_argument("-f", "--follow", action="store_true", help="follow the log as it grows")
        command.add_argument("--output-dir", metavar="DIR", help="folder of the run (default: outputs/NAME)")
        command.add_argument(
            "--set", metavar="SECTION.FIELD=VALUE", action="append", default=[], help="replace a setting"
        )
        if not of_a_run:
            command.add_argument("--executor", choices=["local", "slurm"], default="local", help="who runs the stages")
            by = "stage, by number or name"
            command.add_argument("--from", dest="first", metavar="STAGE", default="0", help=f"first {by}")
            command.add_argument("--until", dest="last", metavar="STAGE", default="7", help=f"last {by}")
        if name == "plan":
            command.add_argument("--commands", action="store_true", help="print command lines, or job scripts")
    jobs = commands.add_parser("jobs", help="print the folder of the job files, to submit one by hand")
    jobs.set_defaults(action=lambda _: print(JOBS))
    sensors = commands.add_parser("sensors", help="choose sensors far from each other").add_subparsers(required=True)
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
    evaluate.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
