"""What every stage's program does: read flags, hold its folder, log, and say errors in a sentence.

A stage's program holds one function `work(parameters, inputs, output_dir) -> results`, and hands it to
`run_stage`. The flags are made from the stage's inputs and parameters in `l3embedding.jobs.stages`, so a flag's
name, type, default and help are those of the experiment's key.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from l3embedding.cli.track import TRACKED, Track, tracked
from l3embedding.jobs.experiment import takes_list
from l3embedding.jobs.folder import LOCK_PATIENCE_S, WHOLE, Share, StageFolder
from l3embedding.jobs.journal import Journal
from l3embedding.jobs.slurm.requeue import end_job
from l3embedding.jobs.stages import STAGES, Stage, TaskParameters, parameter_field
from l3embedding.jobs.stopping import StopRequested, stop_on_signals
from l3embedding.utils.errors import InputError

if typing.TYPE_CHECKING:
    from l3embedding.models.teachers import EmbeddingModel

Work = Callable[[SimpleNamespace, Mapping[str, Path], Path], Mapping[str, Any]]
Gather = Callable[[list[dict[str, Any]], Path], Mapping[str, Any]]

logger = logging.getLogger(__name__)

BAD_INPUT = 2
"""Exit status where the user can mend the input; anything else that fails exits with 1."""


def run_stage(name: str, work: Work, gather: Gather | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a stage's program.

    Parameters
    ----------
    name
        Name of the stage.
    work
        Does it: `work(parameters, inputs, output_dir)` returns the results for `done.json`. For a
        divisible stage `parameters.share` says which part of it.
    gather
        For a divisible stage: `gather(parts, output_dir)` makes the stage's results of those of its tasks.
    argv
        The command line without the program's name; that of this process by default.

    Returns
    -------
    Exit status: 0, or 2 where the input is at fault, or that of a program which was asked to stop.
    """
    stage = STAGES[name]
    arguments = vars(stage_parser(stage).parse_args(argv))
    parameters = {key: arguments[key] for key in stage.parameters}
    inputs = {each.name: Path(arguments[each.name]) for each in stage.inputs if arguments[each.name]}
    folder = StageFolder(name, Path(arguments["output_dir"]), parameters, inputs)
    share = Share(arguments["task_index"], arguments["num_tasks"]) if stage.divisible else WHOLE
    patience_s = math.inf if arguments["wait"] else LOCK_PATIENCE_S
    start_logging()
    sheet = (arguments.get("gsheet_id", ""), arguments.get("google_dev_app_name", ""))
    try:
        with stop_on_signals():
            if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and int(os.environ["SLURM_PROCID"]) > 0:
                return say_errors(lambda: _help_in(folder, work))
            return say_errors(lambda: _work_in(folder, share, patience_s, work, gather, sheet))
    except StopRequested as stop:
        journal = Journal(folder.path, None if share == WHOLE else share.index)
        return end_job(stop, folder.path, arguments["max_timeouts"], journal.status)


def _work_in(
    folder: StageFolder, share: Share, patience_s: float, work: Work, gather: Gather | None, sheet: tuple[str, str]
) -> None:
    with folder.opened(share, patience_s):
        if folder.is_done():
            logger.info("%s is done already", folder.path)
            return
        started = time.time()
        with tracked(folder, share, *sheet) as (track, journal):
            parameters = SimpleNamespace(**folder.parameters, track=track)
            if gather is None:
                results = work(parameters, folder.inputs, folder.path)
                folder.finish(results, started)
                journal.status("finished", results=results)
                return
            results = folder.part(share)
            if results is None:
                parameters.share = share
                results = work(parameters, folder.inputs, folder.path)
            if share != WHOLE:
                folder.finish_part(share, results, started)
                journal.status("finished")
            with folder.gathering(share, results) as parts:
                if parts is not None:
                    results = gather(parts, folder.path)
                    folder.finish(results, started)
                    journal.status("finished", results=results)


def _help_in(folder: StageFolder, work: Work) -> None:
    """Work beside the first task of a Slurm step, which owns the folder and writes the results."""
    if not folder.is_done():
        work(SimpleNamespace(**folder.parameters, track=Track()), folder.inputs, folder.path)


def say_errors(action: Callable[[], Any]) -> int:
    """Run `action`, and turn an error that a user can mend into a sentence on stderr."""
    try:
        action()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def start_logging() -> None:
    """Log to stderr with the time of day, and keep TensorFlow's start-up chatter out."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def stage_parser(stage: Stage) -> argparse.ArgumentParser:
    """Make the command-line parser of a stage's program."""
    parser = argparse.ArgumentParser(
        prog=stage.program.name,
        description=stage.summary[0].upper() + stage.summary[1:] + ".",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output-dir", required=True, help="folder for the output; run again, it is taken up")
    for each in stage.inputs:
        parser.add_argument(_flag(each.name), required=each.required, help=each.help)
    for name in stage.parameters:
        _add_parameter(parser, name, derived=name in stage.derived)
    jobs = parser.add_argument_group("as one of several jobs")
    jobs.add_argument("--wait", action="store_true", help="wait for another run that writes to the folder")
    jobs.add_argument("--max-timeouts", type=int, default=10, help="times a Slurm job asks for more time, at most")
    if stage.name in TRACKED:
        sheet = parser.add_argument_group("Google Sheet")
        sheet.add_argument("--gsheet-id", default=os.environ.get("GSHEET_ID", ""), help="whose row is kept up to date")
        name = os.environ.get("GOOGLE_DEV_APP_NAME", "")
        sheet.add_argument("--google-dev-app-name", default=name, help="name of that sheet")
    if stage.divisible:
        jobs.add_argument("--task-index", type=int, default=0, help="which of the tasks that share the work this is")
        jobs.add_argument("--num-tasks", type=int, default=1, help="how many tasks share the work")
    return parser


def _add_parameter(parser: argparse.ArgumentParser, name: str, derived: bool) -> None:
    field = parameter_field(name)
    options: dict[str, Any] = {"default": None if derived else field.default, "help": field.description}
    if derived:
        options["help"] = f"{field.description}; None: as the inputs have it"
    if field.annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif name not in TaskParameters.model_fields and takes_list(name):
        options |= {"nargs": "+", "action": _Tuple, "type": str}
    elif typing.get_origin(field.annotation) is typing.Literal:
        options["choices"] = typing.get_args(field.annotation)
    else:
        options["type"] = _validator(name)
    parser.add_argument(_flag(name), **options)


def _validator(name: str) -> Callable[[str], Any]:
    field = parameter_field(name)
    adapter = TypeAdapter(Annotated[field.annotation, field])

    def validate(text: Any) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error.errors()[0]['msg']}") from None

    return validate


class _Tuple(argparse.Action):
    """Several values of one flag, validated together."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        try:
            setattr(namespace, self.dest, _validator(self.dest)(values))
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def load_teacher(parameters: SimpleNamespace) -> EmbeddingModel:
    """Load the teacher that the parameters name, or the stand-in where they allow it.

    Raises
    ------
    InputError
        The teacher is not to be had, and no stand-in is allowed.
    """
    from l3embedding.embedding import load_model
    from l3embedding.models.teachers import stand_in_teacher
    from l3embedding.models.weights import WeightsNotFound

    try:
        return load_model(
            parameters.teacher,
            embedding_size=parameters.teacher_embedding_size,
            search=parameters.weights_dirs,
            download=not parameters.stand_in_teacher,
            batch_size=parameters.teacher_batch_size,
        )
    except WeightsNotFound as error:
        if not parameters.stand_in_teacher:
            raise
        logger.warning("%s", error)
        logger.warning(
            "A STAND-IN takes the teacher's place: an untrained network. Its figures mean nothing by themselves."
        )
        return stand_in_teacher(parameters.random_state, parameters.teacher_batch_size)
