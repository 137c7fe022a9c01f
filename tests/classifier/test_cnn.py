"""A network that learns from labels alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from classifier.cnn import CnnClassifier

SHAPE = (8, 8, 1)


def _network() -> keras.Model:
    image = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization(momentum=0.5)(image)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


@pytest.fixture
def clips(rng):
    """Images of stripes, level or upright, a few frames a clip."""
    stripes = np.zeros(SHAPE)
    stripes[::2] = 20
    return {
        f"{name}-{index}": np.stack(
            [(each + rng.normal(0, 2, SHAPE) - 40).reshape(-1) for each in [pattern] * (1 + index % 3)]
        ).astype(np.float16)
        for name, pattern in (("level", stripes), ("upright", stripes.transpose(1, 0, 2)))
        for index in range(6)
    }


def _classifier(clips, **settings):
    return CnnClassifier(_network, clips.__getitem__, **{"num_epochs": 25, "learning_rate": 0.05} | settings)


def test_it_tells_apart_what_it_was_taught(clips):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    taught = np.arange(len(names)) % 6 < 4
    fitted = _classifier(clips, batch_size=4).fit(names[taught], classes[taught])
    np.testing.assert_array_equal(fitted.predict(names[~taught]), classes[~taught])


def test_a_seed_gives_the_same_network_and_another_another(clips):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    weights = [
        _classifier(clips, num_epochs=1, seed=seed).fit(names, classes).model_.get_weights()[-2] for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()
