"""Training a classifier: what it learns, which epoch is kept, and that it can be stopped and resumed anywhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import get_args

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers, ops

from l3embedding.classifier.clips import Clips, MixedClips, Mixtures
from l3embedding.classifier.losses import UNKNOWN
from l3embedding.classifier.network import PROXIMITY, SENSOR, TAGS, Classifier, build_classifier
from l3embedding.classifier.training import OPTIMIZERS, predict, train
from l3embedding.settings import ClassifierSettings
from l3embedding.training import Callbacks

TINY = ClassifierSettings(hidden_layer_size=8, epochs=4, patience=4, batch_size=16, learning_rate=1e-2)
COOCCURRENCE = {"cooccurrence_loss": True, "cooccurrence_loss_factor": 1e-3}
FACTORS = {"sensor_factor": 0.3, "proximity_factor": 0.2}


def _changed(**changes) -> ClassifierSettings:
    return TINY.model_copy(update=changes)


def test_every_optimizer_of_the_settings_is_registered():
    assert OPTIMIZERS.keys() == set(get_args(ClassifierSettings.model_fields["optimizer"].annotation))


def _toy(rng: np.random.Generator, clips: int = 96) -> tuple[Clips, np.ndarray]:
    """Clips of five frames; a class is present where one frame is high in its dimension. The last third is held out."""
    features = rng.normal(0, 0.3, (clips, 5, 4)).astype(np.float32)
    targets = rng.integers(0, 2, (clips, 2)).astype(np.float32)
    for clip, label in np.argwhere(targets):
        features[clip, rng.integers(5), label] += 3
    return Clips(features, {TAGS: targets}), np.arange(clips) >= clips * 2 // 3


def _with_factors(clips: Clips, rng: np.random.Generator) -> Clips:
    sensors = np.eye(3, dtype=np.float32)[rng.integers(0, 3, len(clips))]
    near = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (len(clips), 2))][..., :2]
    return replace(clips, targets=clips.targets | {SENSOR: sensors, PROXIMITY: near})


def _framewise(clips: Clips) -> Clips:
    return replace(clips, targets={name: values[:, np.newaxis] for name, values in clips.targets.items()})


def _train(
    clips: Clips, held_out: np.ndarray, settings: ClassifierSettings, seed: int, **callbacks
) -> tuple[Classifier, pd.DataFrame]:
    build = partial(
        build_classifier,
        clips.features.shape[2:],
        clips.targets[TAGS].shape[-1],
        settings,
        context_size=0 if clips.context is None else clips.context.shape[1],
        n_sensors=3,
        n_proximities=2,
    )
    return train(build, clips, held_out, settings, seed, Callbacks(**callbacks))


@pytest.mark.parametrize("model_type", ["mil", "framewise"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_weak_labels_suffice_to_find_the_frames_that_matter(rng, model_type, optimizer):
    clips, held_out = _toy(rng)
    train_clips = _framewise(clips) if model_type == "framewise" else clips
    how = "max" if model_type == "framewise" else None
    settings = _changed(epochs=60, patience=60, model_type=model_type, optimizer=optimizer, frame_aggregation=how)
    classifier, history = _train(train_clips, held_out, settings, 0)
    predictions = predict(classifier, clips)[held_out]
    # A framewise model has the clip's label in all frames, so that its probabilities are low; their order is right.
    threshold = 0.5 if model_type == "mil" else np.median(predictions, axis=0)
    assert ((predictions > threshold) == clips.targets[TAGS][held_out]).mean() > (0.95 if model_type == "mil" else 0.8)
    assert history["valid_loss"].min() < 0.95 * history["valid_loss"].iloc[0]
    assert list(history) == ["epoch", "train_loss", "valid_loss"]
    assert list(history["epoch"]) == list(range(1, len(history) + 1))


def test_the_seed_determines_everything(rng):
    clips, held_out = _toy(rng)
    (one, history), (two, same), (other, _) = (_train(clips, held_out, TINY, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(history, same)
    first, again, different = (predict(classifier, clips) for classifier in (one, two, other))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, different)


@pytest.mark.parametrize(
    "changes",
    [{}, {"model_type": "framewise", "dropout": 0.5, **COOCCURRENCE, **FACTORS}, {"optimizer": "lbfgs"}],
    ids=["plain", "all", "lbfgs"],
)
def test_a_run_that_is_stopped_ends_bit_for_bit_where_an_undisturbed_one_ends(tmp_path, rng, changes, monkeypatch):
    monkeypatch.setattr("l3embedding.classifier.lbfgs._ITERATIONS_OF_MEMORY", 2)
    clips, held_out = _toy(rng, 48)
    clips = _with_factors(clips, rng) if "sensor_factor" in changes else clips
    clips = _framewise(clips) if "model_type" in changes else clips
    settings = _changed(epochs=7, patience=7, **changes)
    whole, history = _train(clips, held_out, settings, 5)
    checkpoint = tmp_path / "resume.npz"
    for answers in (5, 2, 4):
        asked = iter([False] * (answers - 1) + [True])
        stopped, part = _train(clips, held_out, settings, 5, checkpoint=checkpoint, should_stop=partial(next, asked))
        assert 1 <= len(part) < 7
    resumed, same = _train(clips, held_out, settings, 5, checkpoint=checkpoint)
    np.testing.assert_array_equal(same, history)
    for one, other in zip(whole.trained.get_weights(), resumed.trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("patience", [6, 30])
def test_the_best_epoch_is_kept_and_not_the_last(rng, patience):
    clips, held_out = _toy(rng, 48)
    noise = rng.integers(0, 2, (48, 2)).astype(np.float32)
    settings = _changed(epochs=30, patience=patience, learning_rate=0.1)
    classifier, history = _train(replace(clips, targets={TAGS: noise}), held_out, settings, 3)
    best = history["valid_loss"].idxmin()
    assert len(history) == min(best + 1 + patience, 30)
    assert best + 1 < len(history)
    loss = classifier.tags.evaluate(clips.features[held_out], noise[held_out], verbose=0)
    assert loss == pytest.approx(history["valid_loss"][best], rel=1e-5)


def test_held_out_clips_are_not_trained_on(rng):
    clips, held_out = _toy(rng)
    _, expected = _train(clips, held_out, TINY, 7)
    clips.targets[TAGS][held_out] = 1 - clips.targets[TAGS][held_out]
    _, history = _train(clips, held_out, TINY, 7)
    np.testing.assert_array_equal(history["train_loss"], expected["train_loss"])
    assert not np.array_equal(history["valid_loss"], expected["valid_loss"])


def test_an_unknown_label_is_ignored(rng):
    clips, held_out = _toy(rng)
    clips.targets[TAGS][::2, 0] = UNKNOWN
    _, expected = _train(clips, held_out, TINY, 7)
    only = Clips(clips.features[1::2], {TAGS: clips.targets[TAGS][1::2]})
    classifier, _ = _train(only, held_out[1::2], _changed(epochs=60, patience=60), 7)
    right = (predict(classifier, only) > 0.5)[:, 0] == only.targets[TAGS][:, 0]
    assert right.mean() > 0.9
    assert np.isfinite(expected).all(axis=None)


def test_float16_features_change_predictions_by_less_than_a_thousandth(rng):
    clips, held_out = _toy(rng)
    half = replace(clips, features=clips.features.astype(np.float16))
    first, second = (predict(_train(each, held_out, TINY, 1)[0], each) for each in (clips, half))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_the_gradient_of_all_clips_is_that_of_finite_differences(rng, monkeypatch):
    clips, held_out = _toy(rng, 40)
    seen = []

    def look(objective, start, **options):
        value, gradient = objective(start)
        for index in rng.choice(len(start), 12, replace=False):
            step = np.zeros_like(start)
            step[index] = 1e-3
            difference = (objective(start + step)[0] - objective(start - step)[0]) / 2e-3
            seen.append((gradient[index], difference))
        raise StopIteration

    monkeypatch.setattr("l3embedding.classifier.lbfgs.minimize", look)
    settings = _changed(optimizer="lbfgs", batch_size=7, l2_reg=1e-2)
    with pytest.raises(StopIteration):
        _train(clips, held_out, settings, 0)
    ours, expected = np.transpose(seen)
    np.testing.assert_allclose(ours, expected, atol=2e-4)
    assert np.abs(expected).max() > 5e-3


def test_alpha_stays_non_negative_under_lbfgs(rng):
    clips, held_out = _toy(rng)
    # The tag is absent in all frames of a clip but one: the minimum would fit best.
    upside_down = replace(clips, targets={TAGS: 1 - clips.targets[TAGS]})
    classifier, _ = _train(upside_down, held_out, _changed(optimizer="lbfgs", epochs=30, patience=30), 0)
    assert (ops.convert_to_numpy(classifier.clips.get_layer("autopool").alpha) >= 0).all()


def test_mixtures_are_points_between_two_clips_with_their_own_labels(rng):
    clips, _ = _toy(rng, 8)
    clips = replace(clips, features=clips.features.astype(np.float16), context=rng.random((8, 3), np.float32))
    labels = np.array([[1, 0], [0, 1]], np.float32)
    mixtures = Mixtures(np.array([1, 2]), np.array([3, 4]), np.array([0.25, 0.9], np.float32), labels)
    mixed = MixedClips.of(clips, mixtures, TAGS)
    inputs, targets = mixed.batch(np.array([9, 0, 8]))
    wide = clips.features.astype(np.float32)
    expected = [0.9 * wide[2] + 0.1 * wide[4], wide[0], 0.25 * wide[1] + 0.75 * wide[3]]
    np.testing.assert_allclose(inputs["frames"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(inputs["context"], clips.context[[2, 0, 3]])
    np.testing.assert_array_equal(targets[TAGS], [[0, 1], clips.targets[TAGS][0], [1, 0]])
    assert len(mixed) == 10


def test_an_encoder_is_trained_too_but_its_normalisation_is_not(rng):
    image = keras.Input((3, 2, 1))
    x = layers.Flatten()(layers.BatchNormalization()(image))
    encoder = keras.Model(image, layers.Dense(4)(x))
    before = [ops.convert_to_numpy(weight) for weight in encoder.weights]
    features = rng.normal(1, 1, (24, 5, 3, 2, 1)).astype(np.float16)
    clips = Clips(features, {TAGS: rng.integers(0, 2, (24, 2)).astype(np.float32)})
    build = partial(build_classifier, features.shape[2:], 2, TINY, encoder=encoder)
    train(build, clips, np.arange(24) > 16, TINY, 0)
    moved = {
        weight.path.split("/")[-1]: not np.array_equal(ops.convert_to_numpy(weight), old)
        for weight, old in zip(encoder.weights, before, strict=True)
    }
    assert moved["kernel"] and moved["gamma"]
    assert not moved["moving_mean"] and not moved["moving_variance"]
