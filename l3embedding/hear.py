"""The interface of HEAR (Holistic Evaluation of Audio Representations), for teachers and students alike.

hear-eval-kit is run by `python -m heareval.embeddings.runner l3embedding.hear --model NAME_OR_PATH`.

References
----------
https://hearbenchmark.com/hear-api.html; the package hearvalidator, whose checks pass.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import keras
import numpy as np

from l3embedding import embedding
from l3embedding.data.audio import resample
from l3embedding.models.interface import EmbeddingModel
from l3embedding.models.registry import DEFAULT_MODEL
from l3embedding.utils.errors import InputError

HOP_SIZE_S = 0.05
"""HEAR evaluates event detection with a resolution of 50 ms."""
SAMPLE_RATES = (16000, 22050, 44100, 48000)
"""Sampling rates of HEAR's recordings, Hz."""


# HEAR's tools recognise models by the base class of their framework's modules.
_FRAMEWORK = {"torch": "torch.nn", "tensorflow": "tensorflow"}.get(keras.backend.backend())
_Base: Any = import_module(_FRAMEWORK).Module if _FRAMEWORK else object


class HearModel(_Base):
    """An embedding model with the attributes that HEAR requires.

    Attributes
    ----------
    sample_rate
        Sampling rate that the audio must have, Hz: the lowest of HEAR's that is not below the model's own.
    scene_embedding_size, timestamp_embedding_size
        Dimension of the embeddings.
    """

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        self.embedder = model
        self.sample_rate = next((rate for rate in SAMPLE_RATES if rate >= model.sample_rate), SAMPLE_RATES[-1])
        self.scene_embedding_size = self.timestamp_embedding_size = model.embedding_size


def load_model(model_file_path: str = "") -> HearModel:
    """Load a model by a name or path for `l3embedding.load_model`; by default the released 128-d student."""
    return HearModel(embedding.load_model(model_file_path or DEFAULT_MODEL))


def get_timestamp_embeddings(audio: Any, model: HearModel) -> tuple[Any, Any]:
    """Embed sounds every 50 ms.

    Parameters
    ----------
    audio
        `[n_sounds, n_samples]` in [-1, 1] at the model's rate; a NumPy, PyTorch or TensorFlow array.
    model
        From `load_model`.

    Returns
    -------
    embeddings
        `[n_sounds, T, D]`, of the audio's framework.
    timestamps
        `[n_sounds, T]`, the middle of each frame, ms.

    Raises
    ------
    InputError
        The audio does not have two dimensions.
    """
    embedder = model.embedder
    sounds = [resample(sound, model.sample_rate, embedder.sample_rate) for sound in _to_numpy(audio)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a benchmark has silent and short sounds
        pairs = embedding.get_embedding(sounds, embedder.sample_rate, embedder, hop_size=HOP_SIZE_S, center=True)
    embeddings, timestamps = map(np.stack, pairs)
    return _like(audio, embeddings), _like(audio, (1000 * timestamps).astype(np.float32))


def get_scene_embeddings(audio: Any, model: HearModel) -> Any:
    """Embed sounds as a whole: the mean of their timestamp embeddings, `[n_sounds, D]`."""
    embeddings, _ = get_timestamp_embeddings(_to_numpy(audio), model)
    return _like(audio, embeddings.mean(axis=1))


def _to_numpy(audio: Any) -> np.ndarray:
    sounds = np.asarray(audio.detach().cpu() if hasattr(audio, "detach") else audio, np.float32)
    if sounds.ndim != 2:
        raise InputError(f"HEAR's audio is [n_sounds, n_samples], not {sounds.shape}.")
    return sounds


def _like(audio: Any, values: np.ndarray) -> Any:
    """Convert values to the framework, and move them to the device, of the audio."""
    framework = type(audio).__module__.partition(".")[0]
    if framework == "torch":
        torch: Any = import_module("torch")
        return torch.from_numpy(values).to(audio.device)
    if framework == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(values)
    return values
