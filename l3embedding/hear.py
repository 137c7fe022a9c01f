"""The interface of HEAR (Holistic Evaluation of Audio Representations), for teachers and students alike.

    hear-eval-kit's runner: python -m heareval.embeddings.runner l3embedding.hear --model NAME_OR_PATH

References
----------
https://hearbenchmark.com/hear-api.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.errors import InputError
from l3embedding import embedding
from l3embedding.teachers import EmbeddingModel

HOP_SIZE_S = 0.05
"""HEAR's event detection is judged at 50 ms."""
DEFAULT_MODEL = "edgel3_sea_ust_audio_emb_128"


class HearModel:
    """An embedding model with the attributes that HEAR asks for.

    Attributes
    ----------
    sample_rate
        Hz, which the audio must have.
    scene_embedding_size, timestamp_embedding_size
        Dimension of the embeddings.
    """

    def __init__(self, model: EmbeddingModel) -> None:
        self.model = model
        self.sample_rate = model.sample_rate
        self.scene_embedding_size = self.timestamp_embedding_size = model.embedding_size


def load_model(model_file_path: str = "") -> HearModel:
    """Load a model: what `l3embedding.load_model` takes, or the released 128-d student."""
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
        `[n_sounds, T, D]`, of the framework that the audio is of.
    timestamps
        `[n_sounds, T]`, the middle of each frame, ms.

    Raises
    ------
    InputError
        The audio has other dimensions.
    """
    sounds = _to_numpy(audio)
    pairs = [
        embedding.get_embedding(sound, model.sample_rate, model.model, hop_size=HOP_SIZE_S, center=True)
        for sound in sounds
    ]
    embeddings = np.stack([each for each, _ in pairs])
    milliseconds = 1000 * np.stack([timestamps for _, timestamps in pairs])
    return _like(audio, embeddings), _like(audio, milliseconds.astype(np.float32))


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
    """Give values to the framework, and the device, that the audio came from."""
    framework = type(audio).__module__.partition(".")[0]
    if framework == "torch":
        import torch

        return torch.from_numpy(values).to(audio.device)
    if framework == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(values)
    return values
