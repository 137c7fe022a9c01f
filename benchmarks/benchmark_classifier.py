"""An epoch of the MIL classifier at SONYC-UST's full size, beside plain Keras `fit` on float32 NumPy arrays.

13,538 training clips of 101 frames (10 s, one frame per 0.1 s) of 128 dimensions; both evaluate 15 % of them, held
out, at the end of each epoch. Each runs in its own process, whose peak memory is printed too. The limit is arithmetic:
per frame and weight, 6 floating point operations to train and 2 to evaluate.

    python -m benchmarks.benchmark_classifier
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.timing import alone, peak_mb

CLIPS, FRAMES, SIZE, TAGS = 13_538, 101, 128, 8
WEIGHTS = SIZE * 128 + 128 * 128 + 128 * TAGS
EPOCHS = 4


def clips(dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, targets and which clips are held out."""
    rng = np.random.default_rng(0)
    features = np.empty((CLIPS, FRAMES, SIZE), dtype)
    for clip in range(CLIPS):
        features[clip] = rng.standard_normal((FRAMES, SIZE), np.float32)
    targets = (rng.random((CLIPS, TAGS)) < 0.2).astype(np.float32)
    return features, targets, np.arange(CLIPS) < 0.15 * CLIPS


def ours() -> list[float]:
    """Times of epochs, s: features once in float16, standardised by the network's first layer."""
    from l3embedding.classifier import network
    from l3embedding.classifier.clips import Clips
    from l3embedding.classifier.network import build_classifier
    from l3embedding.classifier.scaling import Standardizer
    from l3embedding.classifier.training import Callbacks, train
    from l3embedding.settings import ClassifierSettings

    features, targets, held_out = clips(np.float16)
    settings = ClassifierSettings(epochs=EPOCHS)
    build = partial(build_classifier, (SIZE,), TAGS, settings, scaling=Standardizer.fit(features))
    ends: list[float] = []
    callbacks = Callbacks(lambda row: ends.append(time.perf_counter()))
    train(build, Clips(features, {network.TAGS: targets}), held_out, settings, 0, callbacks)
    return list(np.diff(ends))


def fit() -> list[float]:
    """The same network and data by Keras' own loop: standardised copies in float32."""
    import keras

    from l3embedding.classifier.network import build_classifier
    from l3embedding.settings import ClassifierSettings

    features, targets, held_out = clips(np.float32)
    features = (features - features.mean(axis=(0, 1))) / features.std(axis=(0, 1))
    model = build_classifier((SIZE,), TAGS, ClassifierSettings()).trained
    model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", jit_compile=False)
    train, evaluated = (features[~held_out], targets[~held_out]), (features[held_out], targets[held_out])
    del features
    ends: list[float] = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    model.fit(*train, batch_size=64, epochs=EPOCHS, validation_data=evaluated, callbacks=[callback], verbose=0)
    return list(np.diff(ends))


def measured(way: Callable[[], list[float]]) -> tuple[float, float]:
    """The shortest epoch, s, and this process' peak memory, MB."""
    return min(way()), peak_mb()


def main() -> None:
    """Print the time of an epoch and the peak memory of each way."""
    times, memory = dict.fromkeys(("ours", "fit"), math.inf), {}
    # They alternate, since a machine's speed drifts.
    for way in (ours, fit) * 2:
        took, memory[way.__name__] = alone(measured, way)
        times[way.__name__] = min(took, times[way.__name__])
    operations = (6 * 0.85 + 2 * 0.15) * CLIPS * FRAMES * WEIGHTS
    for way, took in times.items():
        print(f"{way}: {took:.2f} s per epoch, {operations / took / 1e9:.0f} GFLOP/s, peak memory {memory[way]:.0f} MB")
    print(f"{times['fit'] / times['ours']:.2f} times as fast; 1500 epochs: {1500 * times['ours'] / 3600:.1f} h")


if __name__ == "__main__":
    main()
