"""Distillation: pairs, and training that is interrupted, resumed and continued elsewhere."""

from __future__ import annotations

import math
import resource
import subprocess
import sys

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3embedding.distillation.pairs import Pairs, epoch_rows, load_pairs, match_shards, shuffled_rows
from l3embedding.distillation.training import (
    RESUME,
    build_student,
    continue_training,
    mean_prediction_loss,
    train_student,
)
from l3embedding.embedding import load_model
from l3embedding.models.frontend import student_representation
from l3embedding.settings import DistillationSettings, StudentSettings
from l3embedding.training import Callbacks
from l3embedding.utils.errors import InputError
from tests.conftest import REPOSITORY

SETTINGS = DistillationSettings(
    epochs=4, train_epoch_size=3, validation_epoch_size=2, batch_size=8, learning_rate=1e-3, checkpoint_interval=2
)
SEED = 7
STUDENT = StudentSettings(filters=(2, 2, 3, 4), asr=2000, num_mels=16, num_dft=256, hop_len=125)
REPRESENTATION = student_representation(STUDENT)


def _pairs(seed: int, n: int = 40) -> Pairs:
    """Noise whose level in each quarter of the bins is the target."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, 1, (n, 4)).astype(np.float32)
    noise = rng.normal(-40, 3, (n, *REPRESENTATION.image_shape)).astype(np.float32)
    return Pairs(noise + 8 * np.repeat(levels, 4, axis=1)[:, :, np.newaxis, np.newaxis], levels)


def _train(folder, train=None, callbacks=None, student=STUDENT, **changes):
    train = train or _pairs(0)
    network = build_student(student, train, SEED)
    settings = SETTINGS.model_copy(update=changes)
    return train_student(network, REPRESENTATION, train, _pairs(1, 20), settings, SEED, folder, callbacks)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and history of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, _train(folder)


def _assert_equal(whole, folder, history):
    results = ["epoch", "train_loss", "valid_loss", "valid_mae", "learning_rate"]
    pd.testing.assert_frame_equal(whole[1][results], history[results], check_exact=True)
    for name in ("model_latest", "model_best_valid_loss", "model_best_valid_mae"):
        one, other = (keras.models.load_model(each / f"{name}.keras") for each in (whole[0], folder))
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_resumed_run_ends_bit_for_bit_where_an_undisturbed_one_ends(whole, tmp_path):
    _train(tmp_path, epochs=2)
    _assert_equal(whole, tmp_path, _train(tmp_path))


def test_a_run_stopped_within_epochs_ends_bit_for_bit_the_same(whole, tmp_path):
    for batches in (3, 11, 12, 1):
        asked = iter([False] * batches + [True])
        _train(tmp_path, callbacks=Callbacks(should_stop=lambda asked=asked: next(asked)))
    _assert_equal(whole, tmp_path, _train(tmp_path))


def test_training_continues_in_another_folder_bit_for_bit(whole, tmp_path):
    _train(tmp_path / "first", epochs=2)
    continue_training(tmp_path / "first", tmp_path / "second")
    _assert_equal(whole, tmp_path / "second", _train(tmp_path / "second"))
    state = (tmp_path / "second" / RESUME).read_bytes()
    continue_training(tmp_path / "first", tmp_path / "second")
    assert (tmp_path / "second" / RESUME).read_bytes() == state, "the second folder's own training is kept"
    with pytest.raises(InputError, match="nowhere holds no training"):
        continue_training(tmp_path / "nowhere", tmp_path / "third")


def test_the_training_of_another_network_is_not_resumed(tmp_path):
    _train(tmp_path, epochs=1)
    with pytest.raises(InputError, match="has another shape: block_2_conv_1"):
        _train(tmp_path, student=STUDENT.model_copy(update={"filters": (2, 3, 3, 4)}))


def test_a_full_disk_keeps_the_old_state_and_training_resumes_from_it(whole, tmp_path):
    _train(tmp_path, epochs=2)
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
    history = _train(tmp_path, loss=loss, epochs=6, learning_rate=1e-2)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


def test_a_student_trained_in_bfloat16_is_resumed_and_saved_in_float32(whole, tmp_path):
    _train(tmp_path, precision="mixed_bfloat16", epochs=2)
    history = _train(tmp_path, precision="mixed_bfloat16")
    np.testing.assert_allclose(history["valid_mse"], whole[1]["valid_mse"], rtol=0.05)
    student = load_model(tmp_path).network
    assert {layer.compute_dtype for layer in student.layers} == {"float32"}


def test_the_folder_holds_models_checkpoints_and_history(whole):
    folder, history = whole
    names = {path.name for path in folder.iterdir()}
    assert {"model_latest.keras", "model_best_valid_loss.keras", "model_best_valid_mae.keras"} <= names
    assert {"model_epoch_0002.keras", "model_epoch_0004.keras", "history.csv"} <= names
    assert len(history) == len(pd.read_csv(folder / "history.csv")) == 4


def test_the_best_model_is_that_of_the_lowest_validation_loss(whole):
    folder, history = whole
    student = load_model(folder)
    validate = _pairs(1, 20)
    rows = np.concatenate(epoch_rows(20, 8, 2, SEED, epoch=0))
    predicted = student.network.predict(validate.images[rows], verbose=0)
    mse = np.mean(np.square(predicted - validate.targets[rows]))
    assert mse == pytest.approx(history.loc[history["valid_loss"].idxmin(), "valid_mse"], rel=1e-5)


def test_training_reduces_the_error_below_that_of_the_mean(tmp_path):
    train, validate = _pairs(0, 200), _pairs(1, 20)
    history = _train(tmp_path, train, epochs=30, train_epoch_size=25, learning_rate=1e-2)
    assert history["valid_mse"].min() < mean_prediction_loss(train, validate)


def test_a_diverging_loss_stops_training_and_keeps_the_models(tmp_path):
    _train(tmp_path, epochs=1)
    broken = _pairs(0)
    broken.targets[:] = np.inf
    with pytest.raises(InputError, match="diverged in epoch 2"):
        _train(tmp_path, broken)
    assert load_model(tmp_path).embedding_size == 4


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), epoch_size=st.integers(1, 10), seed=st.integers(0, 99))
def test_every_pass_visits_each_row_once_whatever_the_length_of_an_epoch(n, batch_size, epoch_size, seed):
    per_pass = n // min(batch_size, n)
    rows = []
    epoch = 0
    while len(rows) < 2 * per_pass:
        rows += epoch_rows(n, batch_size, epoch_size, seed, epoch)
        epoch += 1
    for start in (0, per_pass):
        visited = np.concatenate(rows[start : start + per_pass])
        assert len(visited) == len(set(visited)) == per_pass * min(batch_size, n)


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
    assert "of images do not fit" in caplog.text and not (tmp_path / "full" / "images.npy").exists()
    for rows in epoch_rows(50, 8, 6, 0, 0):
        np.testing.assert_allclose(cached.batch(rows)[0], computed.batch(rows)[0], atol=1e-4)
    histories = [_train(tmp_path / name, train=each) for name, each in (("one", cached), ("other", computed))]
    np.testing.assert_allclose(histories[0]["train_loss"], histories[1]["train_loss"], rtol=1e-3)


def test_shards_that_do_not_match_are_an_error(tmp_path):
    _write_shards(tmp_path / "audio", "l3_embedding", (3, 2), 8)
    _write_shards(tmp_path / "missing", "pca", (3,), 4)
    with pytest.raises(InputError, match="s-0001.h5 is missing in"):
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
def test_modules_without_networks_do_not_import_keras(module):
    code = f"import sys, {module}; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
