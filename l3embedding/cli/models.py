"""The commands of `sea` for pretrained models: list them, embed files with one."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from l3embedding.cli.runs import print_table
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "edgel3_sea_ust_audio_emb_128"


def add_commands(commands: Any) -> None:
    """Add `models` and `embed` to the parser of `sea`."""
    models = commands.add_parser("models", help="list the official models", description=list_models.__doc__)
    models.set_defaults(action=list_models)
    embed = commands.add_parser("embed", help="embed audio files", description=embed_audio.__doc__)
    embed.set_defaults(action=embed_audio)
    embed.add_argument("inputs", metavar="FILE_OR_FOLDER", nargs="+", help="audio files, and folders of such")
    embed.add_argument("-o", "--output-dir", metavar="DIR", type=Path, help="default: beside the audio")
    embed.add_argument("--model", default=DEFAULT_MODEL, help=f"name, file or folder (default: {DEFAULT_MODEL})")
    embed.add_argument("--suffix", help="added to the name of each output")
    embed.add_argument("--hop-size", type=float, default=0.1, help="between frames, s (default: 0.1)")
    embed.add_argument("--no-center", action="store_true", help="frames begin at their timestamps")
    embed.add_argument("--embedding-size", type=int, help="of openl3's models: 512 or 6144")
    embed.add_argument("--frontend", choices=["kapre", "librosa", "kapre_v0_1"], help="of openl3's models")
    embed.add_argument("--batch-size", type=int, default=32, help="frames at once (default: 32)")
    embed.add_argument("--overwrite", action="store_true", help="embed again what is there")
    embed.add_argument("--quiet", action="store_true", help="say nothing but errors")


def list_models(arguments: argparse.Namespace) -> None:
    """List the official models: name, size, dimension, licence, and whether the weights are in the cache."""
    from l3embedding.models.weights import GIT_BLOBS, architecture_of, cache_dir, licence_of

    lines: list[dict[str, Any]] = []
    for name in GIT_BLOBS:
        architecture = architecture_of(name)
        path = cache_dir() / f"{name}.h5.gz"
        size = f"{architecture.filters[-1]}" + (" or 6144" if name.startswith("openl3") else "")
        hears = f"{architecture.representation.sample_rate} Hz, {architecture.representation.image_shape[0]} bins"
        lines.append(
            {
                "model": name,
                "MB": round(4e-6 * _parameters(architecture), 1),
                "dimension": size,
                "hears": hears,
                "licence": licence_of(name),
                "cached": "yes" if path.is_file() else "",
            }
        )
    lines += _vggish_lines(cache_dir())
    print_table(lines)
    print(
        f"# cache: {cache_dir()}; of https://github.com/marl/openl3, https://github.com/ksangeeta2429/edgel3 and "
        "https://github.com/tensorflow/models"
    )


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
        raise InputError(f"Not one of the {len(jobs)} files could be embedded; the first: {skipped[0]['reason']}")
    if not arguments.quiet:
        print(f"{len(jobs) - len(skipped)} of {len(jobs)} files are embedded")


def _vggish_lines(cache: Path) -> list[dict[str, Any]]:
    """VGGish without and with its last ReLU, which are of the same file."""
    from l3embedding.models.vggish import FILES, LICENCE, N_MELS, NAMES, SAMPLE_RATE, UNITS, parameter_count

    line = {
        "MB": round(4e-6 * parameter_count(), 1),
        "dimension": str(UNITS[-1]),
        "hears": f"{SAMPLE_RATE} Hz, {N_MELS} bins",
        "licence": LICENCE,
        "cached": "yes" if any((cache / name).is_file() for name in FILES) else "",
    }
    return [{"model": name} | line for name in NAMES]


def _parameters(architecture: Any) -> int:
    """Parameters of the network: two convolutions a block, each with bias and normalisation."""
    total, width = 4, 1
    for block in architecture.filters:
        total += 9 * width * block + 9 * block * block + 2 * (block + 4 * block)
        width = block
    return total
