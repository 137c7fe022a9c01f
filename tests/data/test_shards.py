"""Shards and embedding files."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from l3embedding.data.clip_embeddings import embedding_path, read_embedding, write_embedding
from l3embedding.data.loudness import relevance
from l3embedding.data.shards import (
    Frames,
    SensorFrames,
    embedding_keys,
    iterate_dataset,
    list_shards,
    read_attributes,
    read_dataset,
    read_skipped,
    require_shards,
    shards_by_sensor,
    write_reduced_shard,
    write_sample,
    write_upstream_shard,
)
from l3embedding.utils.errors import InputError


def _frames(rng, n):
    return Frames(
        audio=rng.integers(-99, 99, (n, 80)).astype(np.int16),
        embedding=rng.normal(size=(n, 6)).astype(np.float32),
        timestamp=np.arange(n, dtype=float),
        spl=rng.normal(60, 3, n).astype(np.float32),
        recording=np.zeros(n, np.int32),
        recording_path=["a/ü.wav"],
    )


@pytest.fixture
def shards(tmp_path, rng):
    frames = [_frames(rng, n) for n in (5, 3, 7)]
    for index, each in enumerate(frames):
        write_upstream_shard(tmp_path / f"s-{index:04d}.h5", each, {"sensor": "s", "sample_rate": 80})
    return tmp_path, frames


def test_datasets_have_the_authors_names(shards):
    folder, (first, *_) = shards
    path = folder / "s-0000.h5"
    np.testing.assert_array_equal(read_dataset(path, "audio"), first.audio)
    np.testing.assert_array_equal(read_dataset(path, "l3_embedding"), first.embedding)
    np.testing.assert_array_equal(np.concatenate(list(iterate_dataset(path, "timestamp", 2))), first.timestamp)
    assert read_attributes(path) == {"sensor": "s", "sample_rate": 80}
    with h5py.File(path) as file:
        assert file["recording_path"].asstr()[0] == "a/ü.wav"


def test_the_frames_of_a_sensor_are_numbered_over_all_its_shards(shards, rng):
    folder, frames = shards
    whole = np.concatenate([each.embedding for each in frames])
    sensor = SensorFrames(list_shards(folder))
    assert len(sensor) == 15
    rows = np.sort(rng.choice(15, 6, replace=False))
    np.testing.assert_array_equal(sensor.read_embeddings(rows), whole[rows])
    np.testing.assert_array_equal(sensor.read_embeddings(np.array([14])), whole[[14]])
    assert sensor.read_embeddings(np.empty(0, int)).shape == (0, 6)


def test_relevance_ranks_among_the_frames_of_both_splits_in_the_time_zone(shards):
    folder, frames = shards
    train, validate = list_shards(folder)[:2], list_shards(folder)[2:]
    for path, each in zip(list_shards(folder), frames, strict=True):
        with h5py.File(path, "r+") as file:
            file["timestamp"][:] = 1_500_000_000 + 1800 * each.timestamp
    levels = np.concatenate([each.spl for each in frames])
    times = np.concatenate([1_500_000_000 + 1800 * each.timestamp for each in frames])
    ranks = {}
    for zone in ("UTC", "Asia/Kathmandu"):
        ranks[zone] = SensorFrames(train, validate, zone).relevance
        np.testing.assert_array_equal(ranks[zone], relevance(levels, times, zone)[:8])
    assert (ranks["UTC"] != ranks["Asia/Kathmandu"]).any()
    assert (ranks["UTC"] != SensorFrames(train, [], "UTC").relevance).any()


def test_files_without_levels_have_the_relevance_that_they_hold(tmp_path, rng):
    stored = rng.uniform(0.1, 1, 4).astype(np.float32)
    with h5py.File(tmp_path / "s-0000.h5", "w") as file:
        file["l3_embedding"], file["timestamp"], file["relevance"] = np.ones((4, 2), np.float32), np.arange(4.0), stored
    np.testing.assert_array_equal(SensorFrames([tmp_path / "s-0000.h5"]).relevance, stored)


def test_shards_are_grouped_by_sensor_and_split(tmp_path, rng):
    for name, sensor in (("train/b-0", "b"), ("train/a-0", "a"), ("validate/a-0", "a"), ("validate/c-0", "c")):
        write_upstream_shard(tmp_path / f"{name}.h5", _frames(rng, 2), {"sensor": sensor})
    a, b = (tmp_path / "train" / f"{sensor}-0.h5" for sensor in "ab")
    assert shards_by_sensor(tmp_path) == {
        "a": {"train": [a], "validate": [tmp_path / "validate" / "a-0.h5"]},
        "b": {"train": [b], "validate": []},
    }


def test_a_sample_of_no_frames_can_be_written(shards):
    folder, _ = shards
    write_sample(folder / "sample" / "s.h5", SensorFrames(list_shards(folder)), np.empty(0, np.int64))
    assert read_dataset(folder / "sample" / "s.h5", "l3_embedding").shape == (0, 6)


def test_skipped_recordings_are_kept_with_their_shard(tmp_path, rng):
    skipped = [("a/ü.wav", "holds NaN"), ("b.wav", "is truncated")]
    write_upstream_shard(tmp_path / "s.h5", dataclasses.replace(_frames(rng, 2), skipped=skipped), {})
    assert read_skipped(tmp_path / "s.h5") == skipped
    write_upstream_shard(tmp_path / "s.h5", _frames(rng, 2), {})
    assert read_skipped(tmp_path / "s.h5") == []


def test_an_embedding_that_is_not_finite_is_refused_by_shard_and_row(shards):
    folder, _ = shards
    with h5py.File(folder / "s-0001.h5", "r+") as file:
        file["l3_embedding"][2, 3] = np.nan
    with pytest.raises(InputError, match="s-0001.h5, l3_embedding: row 2"):
        SensorFrames(list_shards(folder)).read_embeddings(np.arange(15))


def test_a_missing_dataset_a_truncated_file_and_an_empty_folder_are_named(shards, tmp_path):
    folder, _ = shards
    with pytest.raises(InputError, match="s-0000.h5 has no dataset 'pca'; it has audio, l3_embedding"):
        read_dataset(folder / "s-0000.h5", "pca")
    content = (folder / "s-0002.h5").read_bytes()
    (folder / "s-0002.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="s-0002.h5 cannot be read as a shard"):
        read_dataset(folder / "s-0002.h5", "audio")
    with pytest.raises(InputError, match="holds no shards"):
        require_shards(tmp_path / "nowhere")


def test_a_reduced_shard_holds_one_dataset_under_its_key(tmp_path, rng):
    key = "pca_ndata=500000_emb=128_kernel=linear"
    write_reduced_shard(tmp_path / "s.h5", key, rng.normal(size=(4, 2)).astype(np.float32), {})
    assert embedding_keys(tmp_path / "s.h5") == [key]


def test_a_shard_that_is_being_written_is_not_listed(tmp_path):
    (tmp_path / ".partial-s-x.h5").touch()
    assert list_shards(tmp_path) == []


def test_embedding_files_have_the_format_of_openl3(tmp_path, rng):
    embedding = rng.normal(size=(3, 2)).astype(np.float32)
    write_embedding(embedding_path(tmp_path, "a.wav"), embedding, np.arange(3) / 10)
    with np.load(tmp_path / "a.npz") as file:
        assert set(file) == {"embedding", "timestamps"}
        np.testing.assert_array_equal(file["embedding"], embedding)


def test_a_damaged_or_pickled_embedding_file_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 no")
    np.savez(tmp_path / "y.npz", embedding=np.array([{}], object), timestamps=np.zeros(1))
    for name in ("x", "y", "z"):
        with pytest.raises(InputError, match=f"{name}.npz cannot be read"):
            read_embedding(tmp_path / f"{name}.npz")
