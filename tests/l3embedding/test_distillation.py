"""Distillation: pairs, schedule, and training that goes on where it stopped."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from l3embedding.distillation import Schedule, TrainingSettings, build_student, mean_prediction_loss, train_student
from l3embedding.embedding import load_model
from l3embedding.frontend import InputRepresentation
from l3embedding.pairs import PairBatches, Pairs, load_pairs, match_shards
from tests.conftest import REPOSITORY

SETTINGS = TrainingSettings(
    num_epochs=4,
    train_epoch_size=3,
    validation_epoch_size=2,
    batch_size=8,
    learning_rate=1e-3,
    patience=10,
    min_delta=1e-4,
    plateau_patience=5,
    checkpoint_interval=2,
    random_state=7,
)
REPRESENTATION = InputRepresentation(2000, n_fft=256, hop_length=125, n_mels=16)
FILTERS = (2, 2, 3, 4)


def _pairs(seed: int, n: int = 40) -> Pairs:
    """Noise whose level in each quarter of the bins is the target."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, 1, (n, 4)).astype(np.float32)
    noise = rng.normal(-40, 3, (n, *REPRESENTATION.image_shape)).astype(np.float32)
    return Pairs(noise + 8 * np.repeat(levels, 4, axis=1)[:, :, np.newaxis, np.newaxis], levels)


def _train(folder, settings=SETTINGS, train=None, **options):
    train = train or _pairs(0)
    network = build_student(REPRESENTATION, FILTERS, "linear", train, settings.random_state)
    return train_student(network, REPRESENTATION, train, _pairs(1, 20), settings, folder, **options)


def test_a_run_that_is_taken_up_ends_bit_for_bit_where_an_undisturbed_one_ends(tmp_path):
    whole = _train(tmp_path / "whole")
    _train(tmp_path / "parts", replace(SETTINGS, num_epochs=2))
    parts = _train(tmp_path / "parts")
    results = ["epoch", "train_loss", "valid_loss", "valid_mae", "learning_rate"]
    pd.testing.assert_frame_equal(whole[results], parts[results], check_exact=True)
    for name in ("model_latest", "model_best_valid_loss", "model_best_valid_mae"):
        one, other = (keras.models.load_model(tmp_path / each / f"{name}.keras") for each in ("whole", "parts"))
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_run_that_is_asked_to_stop_within_an_epoch_ends_bit_for_bit_the_same(tmp_path):
    whole = _train(tmp_path / "whole")
    for batches in (3, 11, 12, 1):
        asked = iter([False] * batches + [True])
        _train(tmp_path / "parts", should_stop=lambda asked=asked: next(asked))
    parts = _train(tmp_path / "parts")
    results = ["epoch", "train_loss", "valid_loss", "valid_mae", "learning_rate"]
    pd.testing.assert_frame_equal(whole[results], parts[results], check_exact=True)
    one, other = (keras.models.load_model(tmp_path / each / "model_latest.keras") for each in ("whole", "parts"))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_folder_holds_what_the_user_was_promised(tmp_path):
    history = _train(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model_latest.keras", "model_best_valid_loss.keras", "model_best_valid_mae.keras"} <= names
    assert {"model_epoch_0002.keras", "model_epoch_0004.keras", "history.csv"} <= names
    assert len(history) == len(pd.read_csv(tmp_path / "history.csv")) == 4


def test_the_best_model_is_that_of_the_lowest_validation_loss(tmp_path):
    history = _train(tmp_path)
    student = load_model(tmp_path)
    validate = _pairs(1, 20)
    predicted = student.network.predict(validate.images[:16], verbose=0)
    check = PairBatches(validate, 8, 2, SETTINGS.random_state, epoch=0)
    rows = np.concatenate([check.rows(index) for index in range(len(check))])
    predicted = student.network.predict(validate.images[rows], verbose=0)
    mse = np.mean(np.square(predicted - validate.targets[rows]))
    assert mse == pytest.approx(history.loc[history["valid_loss"].idxmin(), "valid_mse"], rel=1e-5)


def test_training_reduces_the_error_below_that_of_the_mean(tmp_path):
    train, validate = _pairs(0, 200), _pairs(1, 20)
    history = _train(tmp_path, replace(SETTINGS, num_epochs=30, train_epoch_size=25, learning_rate=1e-2), train)
    assert history["valid_mse"].min() < mean_prediction_loss(train, validate)


def test_a_loss_that_diverges_stops_with_the_epoch_and_keeps_the_models(tmp_path):
    _train(tmp_path, replace(SETTINGS, num_epochs=1))
    broken = _pairs(0)
    broken.targets[:] = np.inf
    with pytest.raises(InputError, match="diverged in epoch 2"):
        _train(tmp_path, train=broken)
    assert load_model(tmp_path).embedding_size == 4


def test_early_stopping_and_the_plateau_count_as_keras_does():
    settings = replace(SETTINGS, num_epochs=100, patience=4, plateau_patience=2)
    schedule = Schedule(epoch=0, learning_rate=1.0)
    rates, losses = [], [5.0, 4.0, 4.0, 4.0 - 5e-5, 4.0, 4.0, 1.0]
    for loss in losses:
        if schedule.is_over(settings):
            break
        schedule = schedule.after_epoch(loss, loss, settings)
        rates.append(schedule.learning_rate)
    assert schedule.epoch == 6, "four epochs without an improvement of more than min_delta"
    np.testing.assert_allclose(rates, [1, 1, 1, 0.1, 0.1, 0.01])
    assert schedule.best_loss == 4.0 - 5e-5


@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    epoch_size=st.integers(1, 10),
    seed=st.integers(0, 99),
)
def test_every_pass_visits_each_row_once_whatever_the_length_of_an_epoch(n, batch_size, epoch_size, seed):
    pairs = Pairs(np.zeros((n, 1)), np.zeros((n, 1)))
    batch_size = min(batch_size, n)
    per_pass = n // batch_size
    rows = []
    epoch = 0
    while len(rows) < 2 * per_pass:
        batches = PairBatches(pairs, batch_size, epoch_size, seed, epoch)
        rows += [batches.rows(index) for index in range(len(batches))]
        epoch += 1
    for start in (0, per_pass):
        visited = np.concatenate(rows[start : start + per_pass])
        assert len(visited) == len(set(visited)) == per_pass * batch_size


def _write_shards(folder, key, counts, width):
    folder.mkdir(parents=True)
    for index, n in enumerate(counts):
        with h5py.File(folder / f"s-{index:04d}.h5", "w") as file:
            file[key] = np.arange(n * width, dtype=np.float32).reshape(n, width)
            file["audio"] = np.ones((n, 2000), np.int16)
            if key != "l3_embedding":
                del file["audio"]


def test_audio_and_targets_are_paired_by_name_in_order(tmp_path):
    _write_shards(tmp_path / "audio", "l3_embedding", (3, 2), 8)
    _write_shards(tmp_path / "emb", "pca", (3, 2), 4)
    shards = match_shards(tmp_path / "audio", tmp_path / "emb")
    pairs = load_pairs(shards, REPRESENTATION, tmp_path / "cache")
    assert pairs.images.shape == (5, *REPRESENTATION.image_shape)
    np.testing.assert_array_equal(pairs.targets[3], np.arange(4))


def test_shards_that_do_not_match_are_refused_by_name(tmp_path):
    _write_shards(tmp_path / "audio", "l3_embedding", (3, 2), 8)
    _write_shards(tmp_path / "missing", "pca", (3,), 4)
    with pytest.raises(InputError, match="s-0001.h5 is not in"):
        match_shards(tmp_path / "audio", tmp_path / "missing")
    _write_shards(tmp_path / "short", "pca", (3, 1), 4)
    with pytest.raises(InputError, match="has 2 frames, but .* has 1 embeddings"):
        match_shards(tmp_path / "audio", tmp_path / "short")
    _write_shards(tmp_path / "nan", "pca", (3, 2), 4)
    with h5py.File(tmp_path / "nan" / "s-0001.h5", "r+") as file:
        file["pca"][1, 2] = math.nan
    with pytest.raises(InputError, match="s-0001.h5, pca: row 1 is not finite"):
        load_pairs(match_shards(tmp_path / "audio", tmp_path / "nan"), REPRESENTATION, tmp_path / "cache")


@pytest.mark.parametrize("module", ["l3embedding", "l3embedding.reduction", "l3embedding.dpp", "jobs.chain"])
def test_what_needs_no_network_does_not_import_one(module):
    code = f"import sys, {module}; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
