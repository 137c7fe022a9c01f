"""Embed audio files, one or thousands, into `.npz` files beside the audio or in a folder, as openl3 and edgel3 do.

Threads read and resample while the network computes. Existing outputs are kept, so an interrupted run is resumed by
running it again. A file that cannot be read is logged and skipped.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from l3embedding.data.audio import AUDIO_SUFFIXES, read_audio
from l3embedding.data.clip_embeddings import write_embedding
from l3embedding.embedding import as_model, cut, embed_stream, frame_times, get_embedding
from l3embedding.models.interface import EmbeddingModel
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import remove_leftovers
from l3embedding.utils.parallel import map_ahead
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)

SUFFIX = ".npz"
_HEADER_THREADS = 16
"""More than there are cores: reading headers is mostly waiting, above all for a file server."""


@dataclass(frozen=True)
class Job:
    """An audio file, and where its embedding goes."""

    audio: Path
    output: Path


def get_output_path(
    filepath: str | os.PathLike[str], suffix: str, output_dir: str | os.PathLike[str] | None = None
) -> str:
    """Path of the output for an audio file, named as openl3 and edgel3 name it.

    Parameters
    ----------
    suffix
        Ending of the output: one that begins with a dot replaces the file's own, any other follows an underscore.
    output_dir
        The folder; the file's own by default.
    """
    stem = os.path.splitext(os.path.basename(filepath))[0]
    folder = os.path.dirname(filepath) if output_dir is None else os.fspath(output_dir)
    return os.path.join(folder, stem + suffix if suffix.startswith(".") else f"{stem}_{suffix}")


def list_jobs(inputs: Sequence[str | os.PathLike[str]], output_dir: Path | None, suffix: str | None) -> list[Job]:
    """List the audio files among and below `inputs`, with their outputs; an output folder repeats their subfolders.

    Raises
    ------
    InputError
        An input does not exist, there is no audio, or two files would have the same output.
    """
    ending = f"{suffix}{SUFFIX}" if suffix else SUFFIX
    jobs: dict[str, Job] = {}
    for given in map(Path, inputs):
        if not given.exists():
            raise InputError(f"{given} does not exist.")
        found = [given] if given.is_file() else sorted(given.rglob("*"))
        files = [path for path in found if path == given or _is_audio(path)]
        for audio in files:
            folder = output_dir
            if output_dir is not None and given.is_dir():
                folder = output_dir / audio.parent.relative_to(given)
            output = get_output_path(audio, ending, folder)
            if (earlier := jobs.get(output)) is not None and earlier.audio != audio:
                raise InputError(f"{earlier.audio} and {audio} would both become {output}; embed them separately.")
            jobs[output] = Job(audio, Path(output))
    if not jobs:
        raise InputError(f"There is no audio ({', '.join(sorted(AUDIO_SUFFIXES))}) in {', '.join(map(str, inputs))}.")
    return list(jobs.values())


def embed_files(
    jobs: Sequence[Job], model: EmbeddingModel, *, hop_size: float = 0.1, center: bool = True, overwrite: bool = False
) -> list[dict[str, str]]:
    """Embed audio files into `.npz` files with `embedding` and `timestamps`.

    Parameters
    ----------
    jobs
        From `list_jobs`.
    hop_size, center
        As for `l3embedding.get_embedding`.
    overwrite
        Whether to embed files again whose output exists.

    Returns
    -------
    The files that could not be embedded, each with the reason.
    """
    todo = [job for job in jobs if overwrite or not job.output.is_file()]
    if len(todo) < len(jobs):
        logger.info("%d of %d embeddings exist already", len(jobs) - len(todo), len(jobs))
    started = time.time()
    skipped: list[dict[str, str]] = []
    durations = dict(zip(todo, map_ahead(lambda job: _duration_s(job.audio), todo, _HEADER_THREADS), strict=True))
    read = map_ahead(lambda job: _frames(job, model, hop_size, center), todo, os.cpu_count() or 1)
    with progress(f"embedding with {model.name}", round(sum(durations.values())), "s of audio", logger) as bar:

        def usable() -> Iterator[tuple[Job, NDArray[np.float32]]]:
            for job, frames in zip(todo, read, strict=True):
                if isinstance(frames, InputError):
                    logger.warning("skipped: %s", frames)
                    skipped.append({"recording": str(job.audio), "reason": str(frames)})
                    bar.update(durations[job])
                else:
                    yield job, frames

        for job, embedding in embed_stream(usable(), model):
            write_embedding(job.output, embedding, frame_times(len(embedding), hop_size, model))
            bar.update(durations[job])
    for folder in {job.output.parent for job in jobs}:
        remove_leftovers(folder, before=started)
    return skipped


def process_file(
    filepath: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str] | None = None,
    suffix: str | None = None,
    model: EmbeddingModel | str | os.PathLike[str] | None = None,
    *,
    hop_size: float = 0.1,
    center: bool = True,
    overwrite: bool = True,
    verbose: object = None,
    **which: Any,
) -> Path | list[Path]:
    """Embed a file, or several, and save the results beside them, or in a folder; returns the output's path.

    Parameters
    ----------
    filepath
        The audio file; for a list the result is a list.
    output_dir
        Folder of the `.npz` file; the audio's by default.
    suffix
        Added to the file's name after an underscore.
    model, hop_size, center, verbose, **which
        As for `l3embedding.get_embedding`.
    overwrite
        Whether to embed a file again whose output exists.

    Raises
    ------
    InputError
        A file cannot be read.
    """
    paths = [filepath] if isinstance(filepath, (str, os.PathLike)) else filepath
    jobs = list_jobs(paths, None if output_dir is None else Path(output_dir), suffix)
    todo = [job for job in jobs if overwrite or not job.output.is_file()]
    if todo:
        audio = [read_audio(job.audio) for job in todo]
        model = as_model(model, **which)
        for job, (samples, rate) in zip(todo, audio, strict=True):
            embedded = get_embedding(samples, rate, model, hop_size=hop_size, center=center, verbose=verbose)
            write_embedding(job.output, *embedded)
    return [job.output for job in jobs] if paths is filepath else jobs[0].output


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES and path.is_file() and not path.name.startswith(".")


def _frames(job: Job, model: EmbeddingModel, hop_size: float, center: bool) -> NDArray[np.float32] | InputError:
    try:
        return cut(*read_audio(job.audio), model, hop_size, center)
    except InputError as error:
        return error


def _duration_s(path: Path) -> float:
    """Length of a file by its header; 0 if it has none: the error is reported when the file is read."""
    try:
        return float(soundfile.info(str(path)).duration)
    except (soundfile.LibsndfileError, OSError):
        return 0.0
