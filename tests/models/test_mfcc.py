"""MFCC statistics as an embedding."""

from __future__ import annotations

import librosa
import numpy as np

from l3embedding.embedding import get_embedding
from l3embedding.models.interface import EmbeddingModel
from l3embedding.models.mfcc import MfccModel
from l3embedding.utils.statistics import summary_statistics


def test_mfcc_statistics_are_an_embedding_model_for_recordings_of_any_rate(rng):
    model = MfccModel()
    assert isinstance(model, EmbeddingModel)
    embedding, timestamps = get_embedding(rng.normal(0, 0.1, 24_000), 8000, model, hop_size=0.5, center=False)
    assert embedding.shape == (5, model.embedding_size) == (len(timestamps), 275)
    assert np.isfinite(embedding).all()


def test_a_frames_vector_is_the_statistics_of_librosas_coefficients_independent_of_the_batch(rng):
    loud, faint = rng.normal(0, 0.3, 44_100).astype(np.float32), rng.normal(0, 1e-4, 44_100).astype(np.float32)
    power = librosa.feature.melspectrogram(y=faint, sr=44_100, n_fft=1024, hop_length=512, n_mels=40)
    coefficients = librosa.feature.mfcc(S=librosa.power_to_db(power, top_db=None), n_mfcc=25)
    found = MfccModel().embed(np.stack([loud, faint]))
    np.testing.assert_allclose(found[1], summary_statistics(coefficients.T), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found[1], MfccModel().embed(faint[None])[0], rtol=1e-5, atol=1e-5)
