"""A network that learns from labels alone, and from a teacher, too."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from l3embedding.classifier.cnn import CnnClassifier, CnnTeacher, soften

SHAPE = (8, 8, 1)


def _network(image_shape) -> keras.Model:
    image = keras.Input(image_shape)
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
            [each + rng.normal(0, 2, SHAPE) - 40 for each in [pattern] * (1 + index % 3)]
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
        _classifier(clips, num_epochs=1, seed=seed).fit(names, classes).model_.get_layer("logits").get_weights()[0]
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


def _teacher(embeddings, strategy, **settings):
    return CnnTeacher(strategy, embeddings.__getitem__, LogisticRegression(), **settings)


def test_a_softened_probability_is_that_of_logits_divided_by_the_temperature(rng):
    logits = rng.normal(0, 3, (20, 4))
    for temperature in (0.5, 1.0, 4.0):
        np.testing.assert_allclose(
            soften(softmax(logits, axis=1), temperature), softmax(logits / temperature, axis=1), rtol=1e-9
        )
    np.testing.assert_allclose(soften(np.array([[1.0, 0.0]]), 1.0), [[1, 0]], atol=1e-30)


@pytest.mark.parametrize("strategy", ["embedding", "soft_labels", "both"])
def test_the_loss_is_the_sum_of_the_strategys_parts(clips, embeddings, strategy):
    teacher = _teacher(embeddings, strategy, temperature=3.0, weight=0.3)
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    fitted = _classifier(clips, num_epochs=1, teacher=teacher).fit(names, classes)
    frames, targets = fitted._lessons(names, (classes == "upright").astype(int))
    said = {name: np.asarray(each) for name, each in fitted.model_(frames.astype("f4"), training=False).items()}
    measured = fitted.model_.evaluate(frames.astype("f4"), targets, batch_size=len(frames), verbose=0, return_dict=True)

    labels = np.repeat(classes == "upright", [len(each) for each in clips.values()]).astype(int)
    heard = np.concatenate(list(embeddings.values()))
    network = keras.Model(fitted.model_.input, fitted.model_.get_layer("logits").output)
    logits = np.asarray(network(frames.astype("f4"), training=False), np.float64)
    expected = 0.7 * -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()
    if strategy != "soft_labels":
        standardized = (heard - heard.mean(axis=0)) / heard.std(axis=0)
        expected += 0.3 * np.square(said["embedding"] - standardized).mean()
    if strategy != "embedding":
        q = softmax(LogisticRegression().fit(heard, labels).predict_log_proba(heard) / 3, axis=1)
        divergence = (q * (np.log(q) - log_softmax(logits / 3, axis=1))).sum(axis=1).mean()
        expected += 0.3 * 9 * divergence
    assert measured["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("strategy", ["embedding", "soft_labels", "both"])
def test_a_taught_network_tells_apart_what_it_was_taught(clips, embeddings, strategy):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    taught = np.arange(len(names)) % 6 < 4
    fitted = _classifier(clips, batch_size=4, teacher=_teacher(embeddings, strategy)).fit(
        names[taught], classes[taught]
    )
    np.testing.assert_array_equal(fitted.predict(names[~taught]), classes[~taught])


class Contrary(LogisticRegression):
    """Takes one class for the other."""

    def predict_proba(self, X):
        return super().predict_proba(X)[:, ::-1]


def test_a_teacher_that_errs_is_believed_where_the_labels_hardly_weigh(clips, embeddings):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    teacher = CnnTeacher("soft_labels", embeddings.__getitem__, Contrary(), temperature=1.0, weight=0.99)
    fitted = _classifier(clips, batch_size=4, teacher=teacher).fit(names, classes)
    assert (fitted.predict(names) != classes).all()


@pytest.mark.parametrize("strategy", [None, "both"])
def test_nothing_of_a_judged_fold_is_looked_at_before_it_is_judged(clips, embeddings, strategy):
    names = np.array(list(clips))
    classes = np.array([name.partition("-")[0] for name in names])
    taught, heard = np.arange(len(names)) % 6 < 4, []

    def images(name):
        heard.append(name)
        return clips[name]

    def embedded(name):
        heard.append(name)
        return embeddings[name]

    teacher = strategy and CnnTeacher(strategy, embedded, LogisticRegression())
    fitted = CnnClassifier(_network, images, num_epochs=1, teacher=teacher).fit(names[taught], classes[taught])
    assert set(heard) == set(names[taught])
    heard.clear()
    fitted.predict(names[~taught])
    assert heard == list(names[~taught])


def test_where_one_of_both_has_a_frame_more_it_is_left_out(clips, embeddings):
    longer = {name: np.concatenate([frames, frames[-1:]]) for name, frames in embeddings.items()}
    names = np.array(list(clips))
    labels = np.array([name.startswith("level") for name in names], int)
    lessons = [
        _classifier(clips, teacher=_teacher(said, "embedding"))._lessons(names, labels) for said in (embeddings, longer)
    ]
    np.testing.assert_array_equal(lessons[0][0], lessons[1][0])
    np.testing.assert_allclose(lessons[0][1]["embedding"], lessons[1][1]["embedding"])
