"""AutoPool, and the multi-label classifier that pools its frames with it."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from classifier.autopool import AutoPool
from classifier.mil import MilSettings, Standardizer, mil_model, prior_prediction, train_mil

TINY = MilSettings(hidden_layer_size=8, num_epochs=4, patience=4, batch_size=16, learning_rate=1e-2)


def _toy(rng: np.random.Generator, clips: int = 96) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips of five frames; a class is present where one frame is high in its dimension. The last third is held out."""
    features = rng.normal(0, 0.3, (clips, 5, 4)).astype(np.float32)
    targets = rng.integers(0, 2, (clips, 2)).astype(np.float32)
    for clip, label in np.argwhere(targets):
        features[clip, rng.integers(5), label] += 3
    return features, targets, np.arange(clips) >= clips * 2 // 3


def _pooled(predictions: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """McFee et al. 2018, eq. 6, in float64."""
    weights = np.exp(alpha * predictions.astype(np.float64))
    return (predictions * weights).sum(axis=1) / weights.sum(axis=1)


def _autopool(alpha: list[float]) -> AutoPool:
    layer = AutoPool()
    layer.build((None, None, len(alpha)))
    layer.alpha.assign(alpha)
    return layer


def test_autopool_is_the_papers_formula(rng):
    predictions = rng.random((3, 7, 4)).astype(np.float32)
    alpha = [0.0, 0.5, 1.0, 20.0]
    pooled = keras.ops.convert_to_numpy(_autopool(alpha)(predictions))
    np.testing.assert_allclose(pooled, _pooled(predictions, np.array(alpha)), rtol=1e-5)


def test_autopool_runs_from_the_mean_to_the_maximum_without_overflow(rng):
    predictions = rng.random((3, 7, 2)).astype(np.float32)
    pooled = keras.ops.convert_to_numpy(_autopool([0.0, 1e6])(predictions))
    np.testing.assert_allclose(pooled[:, 0], predictions[..., 0].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(pooled[:, 1], predictions[..., 1].max(axis=1), rtol=1e-6)


def test_autopool_never_turns_to_the_minimum(rng):
    frames = keras.Input((None, 1))
    model = keras.Model(frames, AutoPool()(frames))
    model.compile(keras.optimizers.SGD(100.0), loss="mse")
    predictions = rng.random((8, 5, 1)).astype(np.float32)
    model.fit(predictions, predictions.min(axis=1), epochs=3, verbose=0)
    assert model.layers[-1].alpha.numpy() == 0


def test_a_saved_classifier_predicts_the_same(tmp_path, rng):
    model = mil_model(4, 2, TINY)
    model.get_layer("autopool").alpha.assign([0.3, 4.0])
    features = rng.normal(size=(3, 6, 4)).astype(np.float32)
    model.save(tmp_path / "mil.keras")
    loaded = keras.saving.load_model(tmp_path / "mil.keras")
    np.testing.assert_array_equal(loaded.predict(features, verbose=0), model.predict(features, verbose=0))


def test_a_classifier_takes_clips_of_any_length_and_predicts_probabilities(rng):
    model = mil_model(4, 3, TINY)
    for frames in (1, 9):
        predictions = model.predict(rng.normal(0, 9, (2, frames, 4)), verbose=0)
        assert predictions.shape == (2, 3)
        assert ((predictions >= 0) & (predictions <= 1)).all()


def test_repeating_or_shuffling_the_frames_changes_no_prediction(rng):
    model = mil_model(4, 3, TINY)
    features = rng.normal(size=(2, 6, 4)).astype(np.float32)
    expected = model.predict(features, verbose=0)
    for same in (np.repeat(features, 3, axis=1), features[:, rng.permutation(6)]):
        np.testing.assert_allclose(model.predict(same, verbose=0), expected, atol=1e-6)


def test_the_classifier_has_the_layers_that_the_settings_ask_for():
    model = mil_model(64, 8, MilSettings())
    weights = 64 * 128 + 128 + 128 * 128 + 128 + 128 * 8 + 8 + 8
    assert model.count_params() == weights
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.activation.__name__ for layer in dense] == ["relu", "relu", "sigmoid"]
    assert [float(layer.kernel_regularizer.l2) for layer in dense] == pytest.approx([1e-5] * 3)


def test_weak_labels_suffice_to_learn_which_frames_matter(rng):
    features, targets, held_out = _toy(rng)
    model, history = train_mil(features, targets, replace(TINY, num_epochs=60, patience=60), 0, held_out)
    predictions = model.predict(features[held_out], verbose=0)
    assert ((predictions > 0.5) == targets[held_out]).mean() > 0.95
    assert history["valid_loss"].min() < 0.5 * history["valid_loss"].iloc[0]
    assert list(history) == ["epoch", "train_loss", "valid_loss"]
    assert list(history["epoch"]) == list(range(1, 61))


def test_a_seed_decides_everything(rng):
    features, targets, held_out = _toy(rng)
    (one, history), (two, same), (other, _) = (train_mil(features, targets, TINY, seed, held_out) for seed in (7, 7, 8))
    np.testing.assert_array_equal(history, same)
    first, again, different = (model.predict(features, verbose=0) for model in (one, two, other))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, different)


def test_a_run_that_is_asked_to_stop_ends_bit_for_bit_where_an_undisturbed_one_ends(tmp_path, rng):
    features, targets, held_out = _toy(rng, 50)
    settings = replace(TINY, num_epochs=7, patience=7)
    whole, history = train_mil(features, targets, settings, 5, held_out)
    checkpoint = tmp_path / "resume.npz"
    for epochs in (2, 1, 3):
        asked = iter([False] * (epochs - 1) + [True])
        _, part = train_mil(
            features, targets, settings, 5, held_out, checkpoint=checkpoint, should_stop=lambda asked=asked: next(asked)
        )
    assert len(part) == 6
    taken_up, same = train_mil(features, targets, settings, 5, held_out, checkpoint=checkpoint)
    np.testing.assert_array_equal(same, history)
    for one, other in zip(whole.get_weights(), taken_up.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("patience", [6, 30])
def test_the_best_epoch_is_kept_and_not_the_last(rng, patience):
    features, _, held_out = _toy(rng, 48)
    noise = rng.integers(0, 2, (48, 2)).astype(np.float32)
    settings = replace(TINY, num_epochs=30, patience=patience, learning_rate=0.1)
    model, history = train_mil(features, noise, settings, 3, held_out)
    best = history["valid_loss"].idxmin()
    assert len(history) == min(best + 1 + patience, 30)
    assert best + 1 < len(history)
    loss = model.evaluate(features[held_out], noise[held_out], verbose=0)
    assert loss == pytest.approx(history["valid_loss"][best], rel=1e-5)


def test_clips_held_out_are_not_learned_from(rng):
    features, targets, held_out = _toy(rng)
    _, expected = train_mil(features, targets, TINY, 7, held_out)
    targets[held_out] = 1 - targets[held_out]
    _, history = train_mil(features, targets, TINY, 7, held_out)
    np.testing.assert_array_equal(history["train_loss"], expected["train_loss"])
    assert not np.array_equal(history["valid_loss"], expected["valid_loss"])


def test_standardising_is_scikit_learns_over_all_frames(rng):
    features = (rng.normal(size=(5, 6, 3)) * (1, 50, 0) + (0, -300, 4)).astype(np.float32)
    standardized = Standardizer.fit(features).transform(features)
    expected = StandardScaler().fit_transform(features.reshape(-1, 3).astype(np.float64)).reshape(features.shape)
    assert standardized.dtype == np.float32
    np.testing.assert_allclose(standardized, expected, atol=1e-5)


def test_the_prior_is_each_classs_frequency():
    targets = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], np.float32)
    np.testing.assert_array_equal(prior_prediction(targets, 3), [[0.75, 0.25]] * 3)
