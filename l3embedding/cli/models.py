"""The commands of `sea` for pretrained models: list them, embed files with one."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, get_args

from l3embedding.cli.runs import print_table
from l3embedding.models import registry
from l3embedding.models.representation import Convention
from l3embedding.utils.errors import InputError


def add_commands(commands: Any) -> None:
    """Add `models` and `embed` to the parser of `sea`."""
    models = commands.add_parser("models", help="list the pretrained models", description=list_models.__doc__)
    models.set_defaults(action=list_models)
    embed = commands.add_parser("embed", help="embed audio files", description=embed_audio.__doc__)
    embed.set_defaults(action=embed_audio)
    embed.add_argument("inputs", metavar="FILE_OR_FOLDER", nargs="+", help="audio files, or folders that contain some")
    embed.add_argument("-o", "--output-dir", metavar="DIR", type=Path, help="default: beside the audio")
    embed.add_argument("--model", default=registry.DEFAULT_MODEL, help="name, file or folder (default: %(default)s)")
    embed.add_argument("--suffix", help="added to the name of each output")
    embed.add_argument("--hop-size", type=_positive, default=0.1, help="hop between frames, s (default: 0.1)")
    embed.add_argument("--no-center", action="store_true", help="timestamps are the frames' starts, not their middles")
    embed.add_argument("--embedding-size", type=int, help="of openl3's models: 512 or 6144")
    embed.add_argument("--frontend", choices=get_args(Convention), help="of openl3's models")
    embed.add_argument("--batch-size", type=int, default=32, help="frames per forward pass (default: 32)")
    embed.add_argument("--overwrite", action="store_true", help="embed files again that have an output")
    embed.add_argument("--quiet", action="store_true", help="print errors only")


def _positive(text: str) -> float:
    if not float(text) > 0:
        raise ValueError
    return float(text)


def list_models(arguments: argparse.Namespace) -> None:
    """List the pretrained models: name, size, dimension, input, licence, and whether the weights are in the cache."""
    print_table(
        [
            {
                "model": model.name,
                "MB": round(4e-6 * model.parameters, 1),
                "dimension": " or ".join(map(str, model.dimensions)),
                "input": f"{model.sample_rate} Hz, {model.bins} bins",
                "licence": model.licence,
                "cached": "yes" if model.is_cached else "",
            }
            for model in registry.models().values()
        ]
    )
    print(f"# cache: {registry.cache_dir()}; from {', '.join(each.source for each in registry.families().values())}")


def embed_audio(arguments: argparse.Namespace) -> None:
    """Embed audio files into .npz files with `embedding` and `timestamps`."""
    if arguments.quiet:
        logging.getLogger().setLevel(logging.ERROR)
    from l3embedding.audio_files import embed_files, list_jobs
    from l3embedding.embedding import load_model

    jobs = list_jobs(arguments.inputs, arguments.output_dir, arguments.suffix)
    model = load_model(
        arguments.model,
        embedding_size=arguments.embedding_size,
        frontend=arguments.frontend,
        batch_size=arguments.batch_size,
    )
    skipped = embed_files(
        jobs, model, hop_size=arguments.hop_size, center=not arguments.no_center, overwrite=arguments.overwrite
    )
    if len(skipped) == len(jobs):
        raise InputError(f"None of the {len(jobs)} files could be embedded; the first: {skipped[0]['reason']}")
    if not arguments.quiet:
        print(f"{len(jobs) - len(skipped)} of {len(jobs)} files are embedded")
