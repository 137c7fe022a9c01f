"""MFCC statistics as an embedding: a baseline that is not trained.

References
----------
Salamon, Jacoby and Bello, A Dataset and Taxonomy for Urban Sound Research, ACM Multimedia 2014,
section 5: 25 coefficients of 40 mel bands in windows of 23 ms, described by their statistics.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from l3embedding.utils.statistics import N_STATISTICS, summary_statistics

SAMPLE_RATE = 44_100
N_MFCC, N_MELS, N_FFT, HOP_LENGTH = 25, 40, 1024, 512


class MfccModel:
    """Embeds each frame of a second by the statistics of its MFCCs; an `EmbeddingModel`."""

    name = "MFCC statistics"
    sample_rate = SAMPLE_RATE
    frame_length = SAMPLE_RATE
    embedding_size = N_STATISTICS * N_MFCC
    size_mb: float | None = 0.0
    activation_mb: float | None = 0.0
    weights_sha256 = hashlib.sha256(b"").hexdigest()
    licence = "mit"
    is_stand_in = False
    batch_size = 64

    def embed(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed frames float32 `[n, 44100]` as float32 `[n, 275]`."""
        from librosa.feature import melspectrogram, mfcc

        power = melspectrogram(y=frames, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS)
        # librosa's power_to_db would set its floor by the loudest of the frames that are embedded together.
        decibel = 10 * np.log10(np.maximum(power, 1e-10))
        return np.stack([summary_statistics(each.T) for each in mfcc(S=decibel, n_mfcc=N_MFCC)])
