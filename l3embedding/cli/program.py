"""What every stage's program does: read flags, hold its folder, log, keep the journal, and report errors.

A stage's program hands `run_stage` one function, which takes a `Job` and, by keyword, the settings that its entry
in `l3embedding.jobs.stages` names:

    def train(job: Job, student: StudentSettings, ..., random_state: int) -> Results: ...

The flags are made of the same entry: `--student.dim`, or `--dim` where no other setting of the stage has that name.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import time
import typing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from l3embedding.cli.track import TRACKED, Track, tracked
from l3embedding.jobs.chain import flag
from l3embedding.jobs.experiment import explain, takes_list
from l3embedding.jobs.folder import LOCK_PATIENCE_S, WHOLE, Share, StageFolder
from l3embedding.jobs.journal import Journal
from l3embedding.jobs.slurm.requeue import end_job
from l3embedding.jobs.stages import STAGES, Stage, field_of
from l3embedding.jobs.stopping import StopRequested, stop_on_signals
from l3embedding.settings import SlurmSettings, contradictions, groups
from l3embedding.utils.errors import InputError

Results = Mapping[str, Any]
"""What a stage found out, as JSON takes it."""

Work = Callable[..., Results]
Gather = Callable[[list[dict[str, Any]], Path], Results]
Defaults = Callable[[Mapping[str, Path]], Mapping[str, Any]]

logger = logging.getLogger(__name__)

BAD_INPUT = 2
"""Exit status where the user can fix the input; anything else that fails exits with 1."""


@dataclass(frozen=True)
class Job:
    """What a stage's function works on, beside its settings."""

    inputs: Mapping[str, Path]  # input to path; optional ones may be absent
    folder: Path  # where the output goes
    share: Share = WHOLE  # which part of a divisible stage's work to do
    track: Track = field(default_factory=Track)  # takes facts and epochs while the function works


def run_stage(
    name: str,
    work: Work,
    gather: Gather | None = None,
    argv: Sequence[str] | None = None,
    defaults: Defaults = lambda inputs: {},
) -> int:
    """Run a stage's program.

    Parameters
    ----------
    name
        Name of the stage.
    work
        Does it: `work(job, **settings)` returns the results for `done.json`.
    gather
        For a divisible stage: `gather(parts, folder)` makes the stage's results of those of its tasks.
    argv
        The command line without the program's name; by default that of this process.
    defaults
        From the inputs, values (dotted) of settings that the command line does not give.

    Returns
    -------
    Exit status: 0, or 2 where the input is at fault, or 75 for a program that was asked to stop.
    """
    stage = STAGES[name]
    flags = vars(stage_parser(stage).parse_args(argv))
    start_logging()
    inputs = {each.name: Path(flags[each.name]) for each in stage.inputs if flags[each.name]}
    share = Share(flags["task_index"], flags["num_tasks"]) if stage.divisible else WHOLE
    sheet = (flags.get("gsheet_id", ""), flags.get("google_dev_app_name", ""))
    patience_s = math.inf if flags["wait"] else LOCK_PATIENCE_S
    folder: StageFolder | None = None

    def run() -> None:
        nonlocal folder
        given = {setting: flags[setting] for setting in stage.fields if setting in flags}
        arguments = stage_arguments(stage, {**defaults(inputs), **given})
        parameters = stage.parameters(arguments, inputs)
        folder = StageFolder(name, Path(flags["output_dir"]), stage.signed(arguments), inputs, parameters)
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and int(os.environ["SLURM_PROCID"]) > 0:
            # The first task of a Slurm step owns the folder and writes the results; the others work beside it.
            if not folder.is_done():
                work(Job(inputs, folder.path), **arguments)
            return
        _work_in(folder, share, patience_s, lambda job: work(job, **arguments), gather, sheet)

    try:
        with stop_on_signals():
            return report_errors(run)
    except StopRequested as stop:
        path = Path(flags["output_dir"])
        journal = Journal(path, None if share == WHOLE else share.index)
        return end_job(stop, path, flags["max_timeouts"], journal.status)


def stage_arguments(stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a stage out of dotted values, validated, and checked against the rules between groups.

    Raises
    ------
    InputError
        A value is wrong, or two contradict each other.
    """
    try:
        arguments = stage.arguments(values)
    except ValidationError as error:
        section = next((name for name, each in groups().items() if each.__name__ == error.title), "")
        raise InputError("\n".join(explain(error, section))) from None
    # A group of which a stage takes single settings only is not whole, and rules must not look at it.
    whole = {name: value for name, value in arguments.items() if name in stage.settings}
    if "representation" in whole:
        whole["representations"] = (whole["representation"],)
    if errors := list(contradictions(whole)):
        raise InputError("\n".join(f"{sentence}." for sentence in errors))
    return arguments


def _work_in(
    folder: StageFolder,
    share: Share,
    patience_s: float,
    work: Callable[[Job], Results],
    gather: Gather | None,
    sheet: tuple[str, str],
) -> None:
    with folder.opened(share, patience_s):
        if folder.is_done():
            logger.info("%s is done already", folder.path)
            return
        started = time.time()
        with tracked(folder, share, *sheet) as (track, journal):
            job = Job(folder.inputs, folder.path, share, track)
            if gather is None:
                results = dict(work(job))
                folder.finish(results, started)
                journal.status("finished", results=results)
                return
            results = folder.part(share) or dict(work(job))
            if share != WHOLE:
                folder.finish_part(share, results, started)
                journal.status("finished")
            with folder.gathering(share, results) as parts:
                if parts is not None:
                    results = dict(gather(parts, folder.path))
                    folder.finish(results, started)
                    journal.status("finished", results=results)


def report_errors(action: Callable[[], object]) -> int:
    """Run `action`, print an error that the user can fix as a sentence on stderr, and return the exit status."""
    try:
        action()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def start_logging() -> None:
    """Log to stderr with the time of day, without TensorFlow's messages about itself."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def stage_parser(stage: Stage) -> argparse.ArgumentParser:
    """Make the command-line parser of a stage's program; settings that are not given are absent from its result."""
    parser = argparse.ArgumentParser(
        prog=stage.program.name,
        usage="%(prog)s --output-dir DIR [--INPUT PATH ...] [--SECTION.FIELD VALUE ...]",
        description=stage.summary[0].upper() + stage.summary[1:] + ".",
        allow_abbrev=False,
    )
    parser.add_argument("--output-dir", required=True, help="folder for the output; run again, it is resumed")
    for each in stage.inputs:
        parser.add_argument(flag(each.name), required=each.required, help=each.help)
    short = Counter(name.rpartition(".")[2] for name in stage.fields)
    for name in stage.fields:
        last = name.rpartition(".")[2]
        add_setting(parser, name, *([last] if last != name and short[last] == 1 else []))
    jobs = parser.add_argument_group("as one of several jobs")
    jobs.add_argument("--wait", action="store_true", help="wait for another run that writes to the folder")
    most = SlurmSettings.model_fields["max_timeouts"]
    jobs.add_argument("--max-timeouts", type=int, default=most.default, help=most.description)
    if stage.name in TRACKED:
        sheet = parser.add_argument_group("Google Sheet")
        sheet.add_argument("--gsheet-id", default=os.environ.get("GSHEET_ID", ""), help="the sheet to log to")
        name = os.environ.get("GOOGLE_DEV_APP_NAME", "")
        sheet.add_argument("--google-dev-app-name", default=name, help="name of that sheet")
    if stage.divisible:
        jobs.add_argument("--task-index", type=int, default=0, help="which of the tasks that share the work this is")
        jobs.add_argument("--num-tasks", type=int, default=1, help="how many tasks share the work")
    return parser


def add_setting(parser: argparse._ActionsContainer, name: str, *aliases: str) -> None:
    """Add the flag of a setting, `SECTION.FIELD`, with its type, help and default as declared; absent if not given."""
    declared = field_of(name)
    default = "" if declared.default in (None, (), "") else f" (default: {declared.default})"
    options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
    options["help"] = f"{declared.description}{default}".replace("%", "%%")
    if declared.annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif takes_list(declared):
        options |= {"nargs": "+", "metavar": "VALUE"}
    elif typing.get_origin(declared.annotation) is typing.Literal:
        options["choices"] = typing.get_args(declared.annotation)
    else:
        options |= {"type": _validator(name), "metavar": "VALUE"}
    parser.add_argument(*(flag(each) for each in (name, *aliases)), **options)


def _validator(name: str) -> Callable[[str], Any]:
    declared = field_of(name)
    annotated: Any = Annotated[declared.annotation, declared]
    adapter: TypeAdapter[Any] = TypeAdapter(annotated)

    def validate(text: str) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise argparse.ArgumentTypeError(f"{text!r}: {message}") from None

    return validate
