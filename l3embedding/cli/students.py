"""The command `sea students`: the memory and work that students need on a board, before they are trained."""

from __future__ import annotations

import argparse
import logging
from typing import Any, TypeVar

from pydantic import ValidationError

from l3embedding.cli.program import add_setting
from l3embedding.cli.runs import print_table
from l3embedding.jobs.experiment import explain
from l3embedding.settings import PAPER_STUDENTS, BoardSettings, Settings, StudentSettings
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

Group = TypeVar("Group", bound=Settings)

FLAGS = (
    *(f"student.{name}" for name in StudentSettings.model_fields if name not in ("dim", "filters")),
    *(f"board.{name}" for name in BoardSettings.model_fields if name.endswith("_limit_bytes")),
)
"""Settings that are flags of the command; the students' filters are its arguments."""


def add_commands(commands: Any) -> None:
    """Add `students` to the parser of `sea`."""
    students = commands.add_parser(
        "students", help="print the flash and RAM that students need", description=list_students.__doc__
    )
    students.set_defaults(action=list_students)
    students.add_argument(
        "filters", metavar="FILTERS", nargs="*", type=_filters, help="of each block, such as 16-32-64-32"
    )
    for name in FLAGS:
        add_setting(students, name, name.partition(".")[2])


def list_students(arguments: argparse.Namespace) -> None:
    """Quantise untrained students, the paper's and any of the given filters, and measure what they need of a board."""
    from l3embedding.models.representation import student_representation

    student = _settings(StudentSettings, "student", arguments)
    board = _settings(BoardSettings, "board", arguments)
    shape = student_representation(student).image_shape
    logger.info("input: images of %d x %d, from audio of %d Hz", *shape[:2], student.asr)
    students = [
        student.model_copy(update={"dim": filters[-1], "filters": filters})
        for filters in dict.fromkeys([*PAPER_STUDENTS.values(), *arguments.filters])
    ]
    print_table([_needs(each, board) for each in students])


def _settings(group: type[Group], section: str, arguments: argparse.Namespace) -> Group:
    given = {name.partition(".")[2]: value for name, value in vars(arguments).items() if name.startswith(f"{section}.")}
    try:
        return group.model_validate(given)
    except ValidationError as error:
        raise InputError("\n".join(explain(error, section))) from None


def _needs(student: StudentSettings, board: BoardSettings) -> dict[str, Any]:
    import numpy as np

    from l3embedding.export.tflite import arena_bytes, convert
    from l3embedding.models.networks import model_size, student_network

    network = student_network(student)
    size = model_size(network)
    images = np.random.default_rng(0).uniform(-80, 0, (4, *network.input_shape[1:])).astype(np.float32)
    content = convert(network, images)
    arena = arena_bytes(content)
    fits = len(content) <= board.flash_limit_bytes and (arena is None or arena <= board.ram_limit_bytes)
    return {
        "filters": "-".join(map(str, student.blocks)),
        "parameters": size.parameters,
        "MB": size.size_mb,
        "act. MB": size.activation_mb,
        "GFLOP": size.gflop,
        "8 bits, MB": len(content) / 1e6,
        "arena, MB": None if arena is None else arena / 1e6,
        "fits": "yes" if fits else "no",
    }


def _filters(text: str) -> tuple[int, ...]:
    parts = text.split("-")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} does not list each block's filters as 16-32-64-32 does")
    return tuple(map(int, parts))
