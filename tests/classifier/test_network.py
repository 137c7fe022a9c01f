"""The classifier's networks: pooling, layers, auxiliary outputs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from l3embedding.classifier.network import (
    AGGREGATIONS,
    MODEL_TYPES,
    PROXIMITY,
    SENSOR,
    TAGS,
    AggregateFrames,
    AutoPool,
    build_classifier,
)
from l3embedding.classifier.scaling import Standardizer
from l3embedding.settings import ClassifierSettings
from l3embedding.utils.errors import InputError
from tests.support.settings import values_of

TINY = ClassifierSettings(hidden_layer_size=8)


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


def test_frames_are_aggregated_by_maximum_mean_or_softmax(rng):
    predictions = rng.random((3, 7, 2)).astype(np.float32)
    expected = {"max": predictions.max(axis=1), "mean": predictions.mean(axis=1)}
    expected["softmax"] = _pooled(predictions, np.ones(2))
    for how, values in expected.items():
        np.testing.assert_allclose(keras.ops.convert_to_numpy(AggregateFrames(how)(predictions)), values, rtol=1e-5)


def test_each_value_of_the_settings_is_implemented_and_no_other():
    assert set(MODEL_TYPES) == values_of(ClassifierSettings, "model_type")
    assert set(AGGREGATIONS) == values_of(ClassifierSettings, "frame_aggregation")
    with pytest.raises(InputError, match="classifier.frame_aggregation 'median' is not one of max, mean, softmax"):
        AggregateFrames("median")
    unknown = ClassifierSettings.model_construct(model_type="rnn")
    with pytest.raises(InputError, match="classifier.model_type 'rnn' is not one of mil, framewise"):
        build_classifier((4,), 2, unknown)


def test_frames_are_averaged_unless_the_settings_name_another_aggregation(rng):
    built = build_classifier((4,), 2, ClassifierSettings(model_type="framewise"))
    frames = rng.normal(size=(2, 6, 4)).astype(np.float32)
    by_frame, by_clip = (model.predict(frames, verbose=0) for model in (built.tags, built.clips))
    np.testing.assert_allclose(by_clip, by_frame.mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("model_type", ["mil", "framewise"])
def test_a_saved_classifier_predicts_the_same(tmp_path, rng, model_type):
    features = rng.normal(size=(3, 6, 4)).astype(np.float32)
    aggregation = "softmax" if model_type == "framewise" else None
    settings = ClassifierSettings(
        model_type=model_type, sensor_factor=1, proximity_factor=1, hidden_layer_size=8, frame_aggregation=aggregation
    )
    built = build_classifier(
        (4,), 2, settings, scaling=Standardizer.fit(features), context_size=3, n_sensors=5, n_proximities=4
    )
    inputs = {"frames": features, "context": rng.random((3, 3), np.float32)}
    built.clips.save(tmp_path / "classifier.keras")
    loaded = keras.saving.load_model(tmp_path / "classifier.keras")
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), built.clips.predict(inputs, verbose=0))


def test_a_classifier_accepts_clips_of_any_length_and_predicts_probabilities(rng):
    model = build_classifier((4,), 3, TINY).clips
    for frames in (1, 9):
        predictions = model.predict(rng.normal(0, 9, (2, frames, 4)), verbose=0)
        assert predictions.shape == (2, 3)
        assert ((predictions >= 0) & (predictions <= 1)).all()


def test_repeating_or_shuffling_the_frames_changes_no_prediction(rng):
    model = build_classifier((4,), 3, TINY).clips
    features = rng.normal(size=(2, 6, 4)).astype(np.float32)
    expected = model.predict(features, verbose=0)
    for same in (np.repeat(features, 3, axis=1), features[:, rng.permutation(6)]):
        np.testing.assert_allclose(model.predict(same, verbose=0), expected, atol=1e-6)


def test_the_classifier_has_the_layers_of_its_settings():
    model = build_classifier((64,), 8, ClassifierSettings()).trained
    weights = 64 * 128 + 128 + 128 * 128 + 128 + 128 * 8 + 8 + 8
    assert model.count_params() == weights
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.activation.__name__ for layer in dense] == ["relu", "relu", "sigmoid"]
    assert [float(layer.kernel_regularizer.l2) for layer in dense] == pytest.approx([1e-5] * 3)


@pytest.mark.parametrize("hidden", [0, 1, 3])
def test_a_model_may_have_no_hidden_layer_or_many(hidden):
    settings = ClassifierSettings(num_hidden_layers=hidden, dropout=0.1 if hidden else 0, model_type="framewise")
    names = [layer.name for layer in build_classifier((4,), 2, settings).clips.layers]
    assert sum(name.startswith("hidden") for name in names) == sum(name.startswith("dropout") for name in names)
    assert sum(name.startswith("hidden") for name in names) == hidden


@pytest.mark.parametrize(("model_type", "frames"), [("mil", ()), ("framewise", (6,))])
def test_auxiliary_outputs_are_probabilities_and_inputs_of_the_tags(rng, model_type, frames):
    settings = ClassifierSettings(model_type=model_type, sensor_factor=1, proximity_factor=1, hidden_layer_size=8)
    built = build_classifier((4,), 2, settings, n_sensors=5, n_proximities=3)
    predicted = built.trained.predict(rng.normal(size=(2, 6, 4)), verbose=0)
    assert {name: values.shape for name, values in predicted.items()} == {
        TAGS: (2, *frames, 2),
        SENSOR: (2, *frames, 5),
        PROXIMITY: (2, *frames, 3, 2),
    }
    for name in (SENSOR, PROXIMITY):
        np.testing.assert_allclose(predicted[name].sum(axis=-1), 1, rtol=1e-5)
    kernel = built.clips.get_layer("frame_prediction").kernel
    assert kernel.shape[0] == 8 + 5 + 3 * 2


def test_context_is_concatenated_to_every_frame(rng):
    settings = ClassifierSettings(num_hidden_layers=0)
    model = build_classifier((4,), 2, settings, context_size=3).clips
    frames, context = rng.normal(size=(2, 6, 4)), rng.normal(size=(2, 3))
    beside = np.concatenate([frames, np.repeat(context[:, np.newaxis], 6, axis=1)], axis=-1)
    plain = build_classifier((7,), 2, settings).clips
    plain.set_weights(model.get_weights())
    expected = plain.predict(beside, verbose=0)
    np.testing.assert_allclose(model.predict({"frames": frames, "context": context}, verbose=0), expected, atol=1e-6)
