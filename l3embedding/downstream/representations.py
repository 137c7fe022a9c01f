"""The registry of representations of clips: the teacher, phi's output, students and baselines.

A new representation needs a value of `l3embedding.settings.Representation`, an entry of `REPRESENTATIONS` there,
which lists its inputs, and an entry of `EMBEDDERS`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.data.clip_embeddings import CLIPS
from l3embedding.downstream.clips import embed_clips, reduce_clips
from l3embedding.embedding import load_model
from l3embedding.models.frontend import InputRepresentation, LogMelSpectrogram, student_representation
from l3embedding.models.mfcc import MfccModel
from l3embedding.models.teachers import EmbeddingModel, load_teacher
from l3embedding.settings import (
    IMAGE_HOP_S,
    REPRESENTATIONS,
    ReductionSettings,
    Representation,
    StudentSettings,
    TeacherSettings,
)
from l3embedding.upstream.reduction import load_reduction
from l3embedding.utils.errors import InputError
from l3embedding.utils.registry import look_up

Results = dict[str, Any]

_INPUT_FIELDS = dict(asr="sample_rate", num_mels="n_mels", num_dft="n_fft", hop_len="hop_length", fmax="fmax")
"""From fields of `StudentSettings` to those of `InputRepresentation`."""


@dataclass(frozen=True)
class Request:
    """Clips to embed, and the settings, of which each representation reads its own."""

    clips: list[Path]
    folder: Path  # output folder of the embedding files
    inputs: Mapping[str, Path]  # of stage 05, by flag name
    hop_size: float  # between frames, s
    reduction: ReductionSettings
    teacher: TeacherSettings
    student: StudentSettings
    random_state: int

    def embed(self, model: EmbeddingModel) -> Results:
        """Embed the clips by a model, and return results for `done.json`."""
        skipped = embed_clips(self.clips, model, self.folder, self.hop_size)
        return {
            "clips": len(self.clips) - len(skipped),
            "skipped": skipped,
            "model_name": model.name,
            "is_stand_in": model.is_stand_in,
            "embedding_size": model.embedding_size,
            "size_mb": model.size_mb,
            "activation_mb": model.activation_mb,
        }


class LogMelImages:
    """The student's input in place of its output: an `EmbeddingModel`, except for the shape and type of its output."""

    name = "log-mel images"
    size_mb: float | None = 0.0
    activation_mb: float | None = 0.0
    weights_sha256 = hashlib.sha256(b"").hexdigest()
    is_stand_in = False
    licence = "mit"
    batch_size = 256

    def __init__(self, representation: InputRepresentation) -> None:
        self.sample_rate, self.frame_length = representation.sample_rate, representation.frame_length
        self.embedding_size = math.prod(representation.image_shape)
        self._front_end = LogMelSpectrogram(representation)

    def embed(self, frames: NDArray[np.float32]) -> NDArray[Any]:
        """Compute the images of frames float32 `[n, frame_length]`, float16 `[n, bins, windows, 1]`, dB."""
        # Float16 resolves 0.06 dB at -80 dB, and halves the files.
        return keras.ops.convert_to_numpy(self._front_end(frames)).astype(np.float16)


def _reduced(request: Request) -> Results:
    reduction = load_reduction(request.inputs["phi"], request.reduction.allow_pickle)
    skipped = reduce_clips(request.clips, request.inputs["features"] / CLIPS, reduction, request.folder)
    clips = len(request.clips) - len(skipped)
    return {"clips": clips, "skipped": skipped, "embedding_size": reduction.embedding_size}


def _student(request: Request) -> Results:
    path = request.inputs["model"]
    model = load_model(path, batch_size=request.teacher.batch_size)
    expected: InputRepresentation | None = getattr(model, "representation", None)
    given, wanted = request.student, student_representation(request.student)
    # A student's file holds its input representation; settings that contradict it are a mistake.
    for name in () if expected is None else sorted(_INPUT_FIELDS.keys() & given.model_fields_set):
        if (has := getattr(expected, _INPUT_FIELDS[name])) != getattr(wanted, _INPUT_FIELDS[name]):
            raise InputError(f"{path} expects {name} {has}, but student.{name} is {getattr(given, name)}.")
    return request.embed(model)


def _log_mel_images(request: Request) -> Results:
    images = LogMelImages(student_representation(request.student))
    # The images are training data, to which a larger overlap adds little.
    return replace(request, hop_size=max(request.hop_size, IMAGE_HOP_S)).embed(images)


EMBEDDERS: Mapping[str, Callable[[Request], Results]] = {
    "teacher": lambda request: request.embed(load_teacher(request.teacher, request.random_state)),
    "reduced": _reduced,
    "student": _student,
    "student-int8": _student,
    "mfcc": lambda request: request.embed(MfccModel()),
    "logmel-cnn": _log_mel_images,
}


def embed_by(representation: Representation, request: Request) -> Results:
    """Embed the clips of a request, and return results for `done.json`."""
    embed = look_up(EMBEDDERS, representation, "representation")
    for name in REPRESENTATIONS[representation].inputs:
        if name not in request.inputs:
            raise InputError(f"--{name} is missing; representation {representation} needs it.")
    return embed(request)
