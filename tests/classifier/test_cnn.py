"""A network that is trained on the labels alone, and one that is also trained on a teacher."""

from __future__ import annotations

from functools import partial
from typing import get_args

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from l3embedding.classifier.cnn import TARGETS, CnnClassifier, CnnTeacher, soften
from l3embedding.settings import CnnSettings
from l3embedding.training import Training, split_batches

SHAPE = (8, 8, 1)


def _network(image_shape) -> keras.Model:
    image = keras.Input(image_shape)
    x = keras.layers.BatchNormalization(momentum=0.5)(image)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


@pytest.fixture
def clips(rng):
    """Images of stripes, level or upright, a few frames per clip."""
    stripes = np.zeros(SHAPE)
    stripes[::2] = 20
    return {
        f"{name}-{index}": np.stack(
            [each + rng.normal(0, 2, SHAPE) - 40 for each in [pattern] * (1 + index % 3)]
        ).astype(np.float16)
        for name, pattern in (("level", stripes), ("upright", stripes.transpose(1, 0, 2)))
        for index in range(6)
    }


def _classifier(clips, **settings):
    options = {name: settings.pop(name) for name in ("seed", "teacher", "checkpoints") if name in settings}
    settings = CnnSettings(**{"epochs": 25, "learning_rate": 0.05} | settings)
    return CnnClassifier(_network, clips.__getitem__, settings, **options)


def test_it_classifies_clips_it_was_not_trained_on(clips):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    train = np.arange(len(names)) % 6 < 4
    fitted = _classifier(clips, batch_size=4).fit(names[train], classes[train])
    np.testing.assert_array_equal(fitted.predict(names[~train]), classes[~train])


def test_the_seed_determines_the_network(clips):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    weights = [
        _classifier(clips, epochs=1, seed=seed).fit(names, classes).model_.get_layer("logits").get_weights()[0]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


@pytest.fixture
def embeddings(clips, rng):
    """A teacher's embeddings of the same frames, whose first dimension tells the classes apart."""
    return {
        name: rng.normal(0, 1, (len(frames), 5)) + [6 * name.startswith("level"), 0, 0, 0, 40]
        for name, frames in clips.items()
    }


def _teacher(embeddings, classifier=None):
    return CnnTeacher(embeddings.__getitem__, classifier or LogisticRegression())


def test_every_supervision_of_the_settings_has_targets():
    assert TARGETS.keys() == set(get_args(CnnSettings.model_fields["supervision"].annotation))


def test_a_softened_probability_is_that_of_logits_divided_by_the_temperature(rng):
    logits = rng.normal(0, 3, (20, 4))
    for temperature in (0.5, 1.0, 4.0):
        np.testing.assert_allclose(
            soften(softmax(logits, axis=1), temperature), softmax(logits / temperature, axis=1), rtol=1e-9
        )
    np.testing.assert_allclose(soften(np.array([[1.0, 0.0]]), 1.0), [[1, 0]], atol=1e-30)


@pytest.mark.parametrize("strategy", ["embedding", "soft_labels", "both"])
def test_the_loss_is_the_sum_of_the_strategys_parts(clips, embeddings, strategy):
    settings = {"supervision": strategy, "temperature": 3.0, "teacher_weight": 0.3}
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    fitted = _classifier(clips, epochs=1, teacher=_teacher(embeddings), **settings).fit(names, classes)
    frames, targets = fitted._training_data(names, (classes == "upright").astype(int))
    predicted = {name: np.asarray(each) for name, each in fitted.model_(frames.astype("f4"), training=False).items()}
    measured = fitted.model_.evaluate(frames.astype("f4"), targets, batch_size=len(frames), verbose=0, return_dict=True)

    labels = np.repeat(classes == "upright", [len(each) for each in clips.values()]).astype(int)
    vectors = np.concatenate(list(embeddings.values()))
    network = keras.Model(fitted.model_.input, fitted.model_.get_layer("logits").output)
    logits = np.asarray(network(frames.astype("f4"), training=False), np.float64)
    expected = 0.7 * -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
    if strategy != "soft_labels":
        standardized = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
        expected += 0.3 * np.square(predicted["embedding"] - standardized).mean()
    if strategy != "embedding":
        q = softmax(LogisticRegression().fit(vectors, labels).predict_log_proba(vectors) / 3, axis=1)
        divergence = (q * (np.log(q) - log_softmax(logits / 3, axis=1))).sum(axis=1).mean()
        expected += 0.3 * 9 * divergence
    assert measured["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("strategy", ["embedding", "soft_labels", "both"])
def test_a_network_with_a_teacher_classifies_clips_it_was_not_trained_on(clips, embeddings, strategy):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    train = np.arange(len(names)) % 6 < 4
    fitted = _classifier(clips, batch_size=4, supervision=strategy, teacher=_teacher(embeddings)).fit(
        names[train], classes[train]
    )
    np.testing.assert_array_equal(fitted.predict(names[~train]), classes[~train])


class Contrary(LogisticRegression):
    """Takes one class for the other."""

    def predict_proba(self, X):
        return super().predict_proba(X)[:, ::-1]


def test_a_wrong_teacher_prevails_where_the_labels_have_little_weight(clips, embeddings):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    settings = {"supervision": "soft_labels", "temperature": 1.0, "teacher_weight": 0.99, "batch_size": 4}
    fitted = _classifier(clips, teacher=_teacher(embeddings, Contrary()), **settings).fit(names, classes)
    assert (fitted.predict(names) != classes).all()


@pytest.mark.parametrize("strategy", ["labels", "both"])
def test_no_clip_of_the_test_fold_is_loaded_for_training(clips, embeddings, strategy):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    train, loaded = np.arange(len(names)) % 6 < 4, []

    def images(name):
        loaded.append(name)
        return clips[name]

    def embedded(name):
        loaded.append(name)
        return embeddings[name]

    settings = CnnSettings(epochs=1, supervision=strategy)
    teacher = CnnTeacher(embedded, LogisticRegression())
    fitted = CnnClassifier(_network, images, settings, teacher=teacher).fit(names[train], classes[train])
    assert set(loaded) == set(names[train])
    loaded.clear()
    fitted.predict(names[~train])
    assert loaded == list(names[~train])


def test_a_frame_without_a_counterpart_is_left_out(clips, embeddings):
    longer = {name: np.concatenate([frames, frames[-1:]]) for name, frames in embeddings.items()}
    names = np.array(list(clips))
    labels = np.array([name.startswith("level") for name in names], int)
    one, other = (
        _classifier(clips, supervision="embedding", teacher=_teacher(each))._training_data(names, labels)
        for each in (embeddings, longer)
    )
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1]["embedding"], other[1]["embedding"])


def test_a_fit_that_is_interrupted_resumes_from_its_own_clips_state(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("l3embedding.classifier.cnn.Training", partial(Training, save_s=0))
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    whole = _classifier(clips, epochs=4, batch_size=4).fit(names, classes)

    def interrupted(order, size):
        next(steps)
        return split_batches(order, size)

    monkeypatch.setattr("l3embedding.classifier.cnn.split_batches", interrupted)
    steps = iter(range(2))
    with pytest.raises(StopIteration):
        _classifier(clips, epochs=4, batch_size=4, checkpoints=tmp_path).fit(names, classes)
    assert len(list(tmp_path.iterdir())) == 1
    steps = iter(range(2))  # enough for the last two epochs only
    resumed = _classifier(clips, epochs=4, batch_size=4, checkpoints=tmp_path).fit(names, classes)
    for one, other in zip(whole.model_.get_weights(), resumed.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list(tmp_path.iterdir()), "a finished fit leaves no state"
