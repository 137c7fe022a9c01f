"""The console command `sea`: run an experiment, see what would run, see how it stands."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data.errors import InputError
from data.files import make_folder, read_json, write_text
from jobs.chain import Task, build_chain
from jobs.experiment import read_experiment
from jobs.folder import DONE
from jobs.local import StageFailed, folder_of, run_tasks
from scripts.program import say_errors, start_logging

logger = logging.getLogger(__name__)


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
    output_dir, tasks = _chain(arguments)
    make_folder(output_dir)
    # What was asked for lies beside what came of it.
    write_text(output_dir / "experiment.yaml", Path(arguments.experiment).read_text(encoding="utf-8"))
    selected = _select(tasks, arguments.first, arguments.last)
    logger.info("%s: %d tasks, output in %s", arguments.experiment, len(selected), output_dir)
    run_tasks(selected, output_dir / "logs")
    report = output_dir / "07-report" / "tables.md"
    if selected and selected[-1].stage.number == 7:
        print(report.read_text(encoding="utf-8"))
        print(f"Report: {report.with_name('report.html')}")


def _plan(arguments: argparse.Namespace) -> None:
    _, tasks = _chain(arguments)
    outlook = _outlook(_select(tasks, arguments.first, arguments.last))
    for task, state in outlook:
        print(f"# {task.name}: {state}")
        if state != "done":
            print(shlex.join(task.command()))
    waiting = sum(state != "done" for _, state in outlook)
    print(f"# {waiting} of {len(outlook)} tasks to run")


def _status(arguments: argparse.Namespace) -> None:
    _, tasks = _chain(arguments)
    width = max(len(task.name) for task in tasks)
    print(f"{'task':{width}}  {'state':8}  {'seconds':>8}  folder")
    for task, state in _outlook(tasks):
        elapsed = f"{read_json(task.folder / DONE)['elapsed_s']:.0f}" if state == "done" else ""
        print(f"{task.name:{width}}  {state:8}  {elapsed:>8}  {task.folder}")


def _chain(arguments: argparse.Namespace) -> tuple[Path, list[Task]]:
    sweep = read_experiment(arguments.experiment, arguments.set)
    output_dir = Path(arguments.output_dir or Path("outputs", sweep.experiments[0].name))
    return output_dir, build_chain(sweep, output_dir)


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
        ("plan", _plan, "print what would run, and the command lines"),
        ("status", _status, "print how each task of an experiment stands"),
    ):
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        command.set_defaults(action=action)
        command.add_argument("experiment", metavar="EXPERIMENT", help="YAML file, such as experiments/demo.yaml")
        command.add_argument("--output-dir", metavar="DIR", help="folder of the run (default: outputs/NAME)")
        command.add_argument(
            "--set", metavar="KEY=VALUE", action="append", default=[], help="replace a value of the experiment"
        )
        if name != "status":
            command.add_argument("--executor", choices=["local"], default="local", help="who runs the stages")
            command.add_argument("--from", dest="first", metavar="N", type=int, default=0, help="first stage (0 to 7)")
            command.add_argument("--until", dest="last", metavar="N", type=int, default=7, help="last stage (0 to 7)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
