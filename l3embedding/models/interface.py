"""What a teacher must provide, what an embedding model has, and how a teacher becomes one.

Anything with the attributes and the method of `Teacher` can be a teacher. In place of an official name you give a
callable without arguments that can be imported:

    teacher: my_package.my_module:load

A teacher's frames may have any length. In the chain teacher and student embed the same second: a teacher of shorter
frames gets the beginning of the second, one of longer frames the second followed by silence. So its embedding
depends on nothing that is not in the student's input.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError

UNKNOWN_LICENCE = "unknown"
_PROBE_FRAMES = 2
_PROJECTIONS = 4


class Teacher(Protocol):
    """What a teacher of your own must have; it may have more of `EmbeddingModel`.

    `sample_rate` is in Hz, `frame_length` in samples.
    """

    sample_rate: int
    frame_length: int
    embedding_size: int

    def embed(self, frames: NDArray[np.float32]) -> Any:
        """Embed frames float32 `[n, frame_length]` in [-1, 1] as an array of numbers `[n, embedding_size]`.

        A frame's embedding must not depend on the other frames of the batch.
        """


@runtime_checkable
class EmbeddingModel(Teacher, Protocol):
    """A teacher or student as all programs use it.

    Attributes
    ----------
    size_mb, activation_mb
        Megabytes of the weights, and of the largest feature map; None where they are not known.
    weights_sha256
        Identifies the weights.
    licence
        Of the weights: an SPDX identifier in small letters, or `unknown`.
    is_stand_in
        Whether it is an untrained network in place of a teacher.
    batch_size
        Frames per forward pass.
    """

    name: str
    size_mb: float | None
    activation_mb: float | None
    weights_sha256: str
    licence: str
    is_stand_in: bool
    batch_size: int

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`."""


class PluggedTeacher:
    """A teacher with all the attributes of an embedding model, whose output is checked.

    Parameters
    ----------
    teacher
        Any `Teacher`.
    name
        Its name if it has no attribute `name`.
    batch_size
        Frames per call of its `embed`.

    Raises
    ------
    InputError
        It lacks an attribute, or its embeddings of noise have another shape or type, are not finite, or differ between
        two calls.
    """

    sample_rate: int
    frame_length: int
    embedding_size: int

    def __init__(self, teacher: Teacher, name: str, batch_size: int = 32) -> None:
        self._teacher = teacher
        self.name = str(getattr(teacher, "name", name))
        self.batch_size = batch_size
        for attribute in ("sample_rate", "frame_length", "embedding_size"):
            value = getattr(teacher, attribute, None)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value <= 0:
                raise InputError(f"The teacher {self.name}: {attribute} is {value!r}, not a positive whole number.")
            setattr(self, attribute, int(value))
        if not callable(getattr(teacher, "embed", None)):
            raise InputError(f"The teacher {self.name} has no method embed(frames).")
        self.size_mb: float | None = getattr(teacher, "size_mb", None)
        self.activation_mb: float | None = getattr(teacher, "activation_mb", None)
        self.licence = str(getattr(teacher, "licence", UNKNOWN_LICENCE))
        self.is_stand_in = bool(getattr(teacher, "is_stand_in", False))
        fingerprint = self._fingerprint()  # also for a teacher with a hash of its own, since it checks the output
        self.weights_sha256 = str(getattr(teacher, "weights_sha256", fingerprint))

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, frame_length]` as float32 `[n, embedding_size]`.

        Raises
        ------
        InputError
            The teacher returned an array of another shape or type, or numbers that are not finite.
        """
        embeddings = np.empty((len(frames), self.embedding_size), np.float32)
        for start in range(0, len(frames), self.batch_size):
            batch = np.ascontiguousarray(frames[start : start + self.batch_size], np.float32)
            embeddings[start : start + len(batch)] = self._embed_batch(batch)
        return embeddings

    def _embed_batch(self, frames: NDArray[np.float32]) -> NDArray[np.floating]:
        values, promised = np.asarray(self._teacher.embed(frames)), (len(frames), self.embedding_size)
        returned = f"The teacher {self.name} returned an"
        if values.shape != promised:
            raise InputError(f"{returned} array of {values.shape} for frames of {frames.shape}, not {promised}.")
        if values.dtype.kind not in "fiu":
            raise InputError(f"{returned} array of {values.dtype}, not of numbers.")
        if not np.isfinite(values).all():
            raise InputError(f"{returned} embedding that is not finite.")
        return values

    def _fingerprint(self) -> str:
        """Hash of its embeddings of a fixed noise, rounded so coarsely that it is the same on other machines."""
        rng = np.random.default_rng(0)
        noise = rng.normal(0, 0.1, (_PROBE_FRAMES, self.frame_length)).astype(np.float32)
        embeddings = self.embed(noise)
        if not np.allclose(embeddings, self.embed(noise), rtol=1e-3, atol=1e-4 * np.abs(embeddings).max()):
            raise InputError(
                f"The teacher {self.name} returns other embeddings for the same frames: is it in training mode?"
            )
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        directions = embeddings / np.maximum(norms, np.finfo(np.float32).tiny)
        projected = directions @ rng.standard_normal((self.embedding_size, _PROJECTIONS))
        text = [f"{norm:.2e}" for norm in norms.ravel()] + [f"{value:.2f}" for value in projected.ravel()]
        text += [str(self.sample_rate), str(self.frame_length)]
        return hashlib.sha256(" ".join(text).replace("-0.00", "0.00").encode()).hexdigest()


class SecondFrames:
    """An embedding model with frames of one second, made of one with another frame length; see this module's top."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model
        self.frame_length = model.sample_rate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, sample_rate]` as float32 `[n, embedding_size]`."""
        length = self._model.frame_length
        missing = max(0, length - frames.shape[1])
        return self._model.embed(np.pad(frames, ((0, 0), (0, missing))) if missing else frames[:, :length])


def in_seconds(model: EmbeddingModel) -> EmbeddingModel:
    """Make an embedding model's frames one second long; most already are."""
    return model if model.frame_length == model.sample_rate else SecondFrames(model)


def is_plugged(name: str) -> bool:
    """Whether a name has the form of a callable's: `package.module:callable`."""
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) is not None


def load_plugged(name: str, batch_size: int = 32) -> PluggedTeacher:
    """Import the callable that `package.module:callable` names, and call it to get a teacher.

    This executes the user's code, as the user asked for by naming it.

    Raises
    ------
    InputError
        There is no such module or callable, or it does not return a teacher.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"The teacher {name} cannot be imported: {error}. Put the folder of its module on PYTHONPATH."
        ) from error
    load = getattr(module, attribute, None)
    if not callable(load):
        raise InputError(f"The teacher {name}: {module.__file__} has no callable {attribute!r}.")
    return PluggedTeacher(load(), name, batch_size)
