"""The command `sea students`: what a student of some shape would need of a board, before it is trained."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from l3embedding.cli.runs import print_table
from l3embedding.jobs.experiment import Experiment

logger = logging.getLogger(__name__)

_HEARS = ("asr", "num_mels", "num_dft", "hop_len", "fmax")


def add_commands(commands: Any) -> None:
    """Add `students` to the parser of `sea`."""
    students = commands.add_parser("students", help="what students need of a board", description=list_students.__doc__)
    students.set_defaults(action=list_students)
    students.add_argument(
        "filters", metavar="FILTERS", nargs="*", type=_filters, help="of each block, such as 16-32-64-32"
    )
    for key in (*_HEARS, "flash_limit_bytes", "ram_limit_bytes"):
        field = Experiment.model_fields[key]
        kind = float if key == "fmax" else int
        students.add_argument(
            "--" + key.replace("_", "-"),
            type=kind,
            default=field.default,
            help=f"{field.description} ({field.default})",
        )


def list_students(arguments: argparse.Namespace) -> None:
    """Quantise untrained students, the paper's and those of the given filters, and measure what they need."""
    from l3embedding.models.frontend import student_representation
    from l3embedding.settings import PAPER_STUDENTS

    representation = student_representation(*(getattr(arguments, key) for key in _HEARS))
    logger.info("hearing %d Hz as images of %d x %d", arguments.asr, *representation.image_shape[:2])
    shapes = [*PAPER_STUDENTS.values(), *arguments.filters]
    print_table([_needs(shape, representation, arguments) for shape in dict.fromkeys(shapes)])


def _needs(filters: tuple[int, ...], representation: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from l3embedding.export.tflite import arena_bytes, convert
    from l3embedding.models.networks import l3_audio_network, model_size

    network = l3_audio_network(representation.image_shape, filters, "linear")
    size = model_size(network)
    images = np.random.default_rng(0).uniform(-80, 0, (4, *representation.image_shape)).astype(np.float32)
    content = convert(network, images)
    arena = arena_bytes(content)
    fits = len(content) <= arguments.flash_limit_bytes and (arena is None or arena <= arguments.ram_limit_bytes)
    return {
        "filters": "-".join(map(str, filters)),
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
        raise argparse.ArgumentTypeError(f"{text!r} is not such as 16-32-64-32: each block's, the last the dimension")
    return tuple(map(int, parts))
