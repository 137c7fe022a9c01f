"""Distillation: pairs, schedule, and training that goes on where it stopped."""

from __future__ import annotations

import math
import resource
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

from l3embedding.distillation.pairs import PairBatches, Pairs, load_pairs, match_shards, shuffled_rows
from l3embedding.distillation.training import (
    Schedule,
    TrainingSettings,
    build_student,
    continue_training,
    mean_prediction_loss,
    train_student,
)
from l3embedding.embedding import load_model
from l3embedding.models.frontend import InputRepresentation
from l3embedding.utils.errors import InputError
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and history of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, _train(folder)


def _assert_equal(whole, folder, history):
    results = ["epoch", "train_loss", "valid_loss", "valid_mae", "learning_rate"]
    pd.testing.assert_frame_equal(whole[1][results], history[results], check_exact=True)
    for name in ("model_latest", "model_best_valid_loss", "model_best_valid_mae"):
        one, other = (keras.models.load_model(each / f"{name}.keras") for each in (whole[0], folder))
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_run_that_is_taken_up_ends_bit_for_bit_where_an_undisturbed_one_ends(whole, tmp_path):
    _train(tmp_path, replace(SETTINGS, num_epochs=2))
    _assert_equal(whole, tmp_path, _train(tmp_path))


def test_a_run_that_is_asked_to_stop_within_an_epoch_ends_bit_for_bit_the_same(whole, tmp_path):
    for batches in (3, 11, 12, 1):
        asked = iter([False] * batches + [True])
        _train(tmp_path, should_stop=lambda asked=asked: next(asked))
    _assert_equal(whole, tmp_path, _train(tmp_path))


def test_training_goes_on_in_another_folder_bit_for_bit(whole, tmp_path):
    _train(tmp_path / "first", replace(SETTINGS, num_epochs=2))
    continue_training(tmp_path / "first", tmp_path / "second")
    _assert_equal(whole, tmp_path / "second", _train(tmp_path / "second"))
    state = (tmp_path / "second" / "resume" / "state.json").read_text()
    continue_training(tmp_path / "first", tmp_path / "second")
    assert (tmp_path / "second" / "resume" / "state.json").read_text() == state, "what the second has is kept"
    with pytest.raises(InputError, match="nowhere holds no training"):
        continue_training(tmp_path / "nowhere", tmp_path / "third")


def test_the_training_of_another_network_is_not_taken_up(tmp_path):
    _train(tmp_path, replace(SETTINGS, num_epochs=1))
    network = build_student(REPRESENTATION, (2, 3, 3, 4), "linear", _pairs(0), 0)
    with pytest.raises(InputError, match="of another shape: block_2_conv_1"):
        train_student(network, REPRESENTATION, _pairs(0), _pairs(1, 20), SETTINGS, tmp_path)


def test_a_full_disk_keeps_the_old_checkpoint_and_training_goes_on_from_it(whole, tmp_path):
    _train(tmp_path, replace(SETTINGS, num_epochs=2))
    kept = {path.name for path in tmp_path.rglob("*")}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # no file grows beyond it, as on a full disk
        with pytest.raises(InputError, match="is full. Make room and run it again"):
            _train(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name for path in tmp_path.rglob("*")} == kept
    _assert_equal(whole, tmp_path, _train(tmp_path))


@pytest.mark.parametrize("loss", ["whitened_mse", "cosine", "relational"])
def test_every_loss_trains(loss, tmp_path):
    history = _train(tmp_path, replace(SETTINGS, distillation_loss=loss, num_epochs=6, learning_rate=1e-2))
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


def test_a_student_trained_in_bfloat16_is_taken_up_and_saved_in_float32(whole, tmp_path):
    settings = replace(SETTINGS, precision="mixed_bfloat16")
    _train(tmp_path, replace(settings, num_epochs=2))
    history = _train(tmp_path, settings)
    np.testing.assert_allclose(history["valid_mse"], whole[1]["valid_mse"], rtol=0.05)
    student = load_model(tmp_path).network
    assert {layer.compute_dtype for layer in student.layers} == {"float32"}


def test_the_folder_holds_what_the_user_was_promised(whole):
    folder, history = whole
    names = {path.name for path in folder.iterdir()}
    assert {"model_latest.keras", "model_best_valid_loss.keras", "model_best_valid_mae.keras"} <= names
    assert {"model_epoch_0002.keras", "model_epoch_0004.keras", "history.csv"} <= names
    assert len(history) == len(pd.read_csv(folder / "history.csv")) == 4


def test_the_best_model_is_that_of_the_lowest_validation_loss(whole):
    folder, history = whole
    student = load_model(folder)
    validate = _pairs(1, 20)
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


@given(n=st.integers(1, 400), block=st.integers(1, 20), window=st.integers(1, 100), seed=st.integers(0, 9))
def test_a_shuffle_by_windows_is_a_permutation_of_long_stretches(n, block, window, seed):
    rows = shuffled_rows(n, np.random.default_rng(seed), block, window)
    np.testing.assert_array_equal(np.sort(rows), np.arange(n))
    if n > window:
        # The rows of a window come from blocks that no other window touches.
        windows = np.array_split(np.arange(-(-n // block)), -(-n // window))
        firsts, seen = [len(each) for each in windows], []
        for blocks in firsts:
            start = sum(len(each) for each in seen)
            stretch = rows[start:]
            members = list(dict.fromkeys(stretch // block))[:blocks]
            seen.append(stretch[np.isin(stretch // block, members)])
        assert [len(set(each // block)) for each in seen] == firsts


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


def test_images_that_do_not_fit_on_the_disk_are_computed_when_they_are_read(tmp_path, monkeypatch, rng, caplog):
    _write_shards(tmp_path / "audio", "l3_embedding", (30, 20), 4)
    for path in (tmp_path / "audio").iterdir():
        with h5py.File(path, "r+") as file:
            file["audio"][:] = rng.integers(-3000, 3000, file["audio"].shape)
    shards = match_shards(tmp_path / "audio", None)
    cached = load_pairs(shards, REPRESENTATION, tmp_path / "cache")
    monkeypatch.setattr("l3embedding.distillation.pairs._SPARE_BYTES", 10**18)
    computed = load_pairs(shards, REPRESENTATION, tmp_path / "full")
    assert "do not fit beside" in caplog.text and not (tmp_path / "full" / "images.npy").exists()
    for (one, _), (other, _) in zip(
        *(PairBatches(each, 8, 6, 0, 0).ahead(2) for each in (cached, computed)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)
    histories = [_train(tmp_path / name, train=each) for name, each in (("one", cached), ("other", computed))]
    np.testing.assert_allclose(histories[0]["train_loss"], histories[1]["train_loss"], rtol=1e-3)


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


@pytest.mark.parametrize(
    "module", ["l3embedding", "l3embedding.upstream.reduction", "l3embedding.upstream.dpp", "l3embedding.jobs.chain"]
)
def test_what_needs_no_network_does_not_import_one(module):
    code = f"import sys, {module}; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
