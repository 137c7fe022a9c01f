"""The loop of every training: early stopping, plateaus, means over samples, and its saved state."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from l3embedding.training import Callbacks, EarlyStopping, Pass, Training, TrainingState, on_batch, split_batches
from l3embedding.utils.errors import InputError


def _count(losses, **stopping):
    stopping, state, rates = EarlyStopping(epochs=100, **stopping), TrainingState(learning_rate=1.0), []
    for loss in losses:
        if stopping.is_over(state):
            break
        state.history.append({"epoch": len(state.history) + 1.0, "valid_loss": loss})
        stopping.count(state, loss)
        rates.append(state.learning_rate)
    return rates


class _FakeModel:
    """What Keras' callbacks need of a model."""

    def __init__(self) -> None:
        self.optimizer = keras.optimizers.SGD(1.0)
        self.stop_training = False


def test_early_stopping_and_plateaus_are_those_of_keras(rng):
    for patience, plateau_patience in ((4, 2), (7, 3), (5, 1)):
        losses = np.concatenate([[5.0, 4.0, 4.0, 4.0 - 5e-5], 4 + rng.normal(0, 1e-3, 60)])
        model, expected = _FakeModel(), []
        callbacks = [
            keras.callbacks.EarlyStopping("valid_loss", min_delta=1e-4, patience=patience, mode="min"),
            keras.callbacks.ReduceLROnPlateau("valid_loss", 0.1, plateau_patience, mode="min", min_delta=1e-4),
        ]
        for callback in callbacks:
            callback.set_model(model)
            callback.on_train_begin()
        for epoch, loss in enumerate(losses):
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"valid_loss": loss})
            expected.append(float(model.optimizer.learning_rate))
            if model.stop_training:
                break
        rates = _count(losses, patience=patience, min_delta=1e-4, plateau_patience=plateau_patience)
        np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_without_a_plateau_patience_the_learning_rate_stays():
    assert set(_count([1.0] * 50, patience=60)) == {1.0}


def _training(tmp_path, rng, patience=100, **callbacks):
    """A linear map of noise, with dropout, by batches of 4, 4 and 2."""
    inputs, targets = rng.normal(size=(10, 3)).astype("f4"), rng.normal(size=(10, 2)).astype("f4")
    keras.utils.set_random_seed(0)
    x = keras.Input((3,))
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.Dropout(0.5)(x)))
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    path = tmp_path / "resume.npz"
    state = TrainingState.restore(path, model, 0.01)

    def batches(order, step):
        return Pass(split_batches(order, 4), lambda rows: (inputs[rows], targets[rows]), on_batch(step))

    training = Training(
        model,
        state,
        EarlyStopping(5, patience),
        Callbacks(checkpoint=path, **callbacks),
        batches(np.arange(10), model.test_on_batch),
    )
    return training, lambda epoch: batches(np.random.default_rng(epoch).permutation(10), model.train_on_batch)


def test_losses_are_means_over_samples_and_not_over_batches(tmp_path):
    training, batches = _training(tmp_path, np.random.default_rng(0))
    training.run(batches)
    inputs, targets = (np.concatenate(each) for each in zip(*training.validation.ahead(), strict=True))
    expected = np.square(training.model.predict(inputs, verbose=0) - targets).mean()
    assert training.state.history[-1]["valid_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_training_killed_at_any_batch_ends_as_an_undisturbed_one(tmp_path):
    """The state is saved at the end of every epoch only; the batches since then are repeated."""
    (tmp_path / "whole").mkdir()
    whole, batches = _training(tmp_path / "whole", np.random.default_rng(0))
    whole.run(batches)
    for kill_at in (2, 9, 14):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        asked = iter([False] * kill_at)  # then it raises, as an interruption does
        killed, batches = _training(folder, np.random.default_rng(0), should_stop=lambda asked=asked: next(asked))
        killed.save_s = 0
        with pytest.raises(StopIteration):
            killed.run(batches)
        resumed, batches = _training(folder, np.random.default_rng(0))
        assert len(resumed.state.history) == kill_at // 6, "six batches are trained and evaluated on in an epoch"
        resumed.run(batches)
        assert resumed.state.history == whole.state.history
        for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_plateau_lowers_the_optimizers_rate_and_a_resumed_training_has_it(tmp_path):
    training, batches = _training(tmp_path, np.random.default_rng(0))
    training.stopping = EarlyStopping(3, 100, min_delta=100.0, plateau_patience=1)
    training.run(batches)
    training.save()
    # The first epoch improves on infinity.
    assert float(training.model.optimizer.learning_rate) == pytest.approx(1e-4)
    resumed, _ = _training(tmp_path, np.random.default_rng(0))
    assert float(resumed.model.optimizer.learning_rate) == pytest.approx(1e-4)
    assert resumed.state.learning_rate == pytest.approx(1e-4)


def test_a_diverging_loss_is_an_error(tmp_path):
    training, batches = _training(tmp_path, np.random.default_rng(0))
    training.model.layers[-1].kernel.assign(np.full((3, 2), np.inf))
    with pytest.raises(InputError, match="diverged in epoch 1.*rate below 0.01"):
        training.run(batches)
