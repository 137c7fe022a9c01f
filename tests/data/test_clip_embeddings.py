"""Embedding files: stacked in one array, paired, and damaged ones left out."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from l3embedding.data.clip_embeddings import (
    check_paired,
    embedding_path,
    read_embedding,
    stack_embeddings,
    write_embedding,
)
from l3embedding.utils.errors import InputError


def _write(folder, clip: str, embedding: np.ndarray) -> None:
    write_embedding(embedding_path(folder, clip), embedding.astype(np.float32), 0.1 * np.arange(len(embedding)))


@pytest.fixture
def clips(tmp_path, rng) -> dict[str, np.ndarray]:
    """Five clips of four frames of three dimensions, of which one is constant."""
    embeddings = {f"{index}.wav": rng.normal(0, 5, (4, 3)) * (1, 1, 0) + (0, 0, 0.1) for index in range(5)}
    for clip, embedding in embeddings.items():
        _write(tmp_path, clip, embedding)
    return embeddings


def test_embeddings_are_stacked_in_order_and_in_half_precision(clips, tmp_path):
    stacked = stack_embeddings(tmp_path, ["3.wav", "0.wav"])
    assert stacked.clips == ["3.wav", "0.wav"]
    assert stacked.features.dtype == np.float16
    np.testing.assert_allclose(stacked.features, [clips["3.wav"], clips["0.wav"]], rtol=1e-3)
    assert stacked.skipped == []


@pytest.mark.parametrize(("offset", "scale"), [(100, 0.01), (0, 1e6)], ids=["hardly varies", "overflows"])
def test_embeddings_beyond_half_precision_are_kept_in_single(clips, tmp_path, offset, scale, caplog):
    for clip, embedding in clips.items():
        _write(tmp_path, clip, embedding * (1, 1, scale) + (0, 0, offset) + scale * embedding[:, :1] * (0, 0, 1))
    with caplog.at_level(logging.WARNING):
        stacked = stack_embeddings(tmp_path, clips)
    assert stacked.features.dtype == np.float32
    np.testing.assert_array_equal(stacked.features[1], read_embedding(embedding_path(tmp_path, "1.wav"))[0])
    assert "are kept in float32" in caplog.text


def test_clips_that_are_missing_damaged_or_of_another_length_are_left_out_by_name(clips, tmp_path, rng, caplog):
    _write(tmp_path, "short.wav", rng.normal(size=(3, 3)))
    embedding_path(tmp_path, "broken.wav").write_bytes(b"PK no zip")
    np.savez(embedding_path(tmp_path, "flat.wav"), embedding=np.zeros(3), timestamps=np.zeros(1))
    with caplog.at_level(logging.WARNING):
        stacked = stack_embeddings(tmp_path, ["short.wav", "gone.wav", "broken.wav", "flat.wav", *clips])
    assert stacked.clips == list(clips)
    reasons = {entry["recording"]: entry["reason"] for entry in stacked.skipped}
    assert "has 3 frames, most clips 4" in reasons["short.wav"]
    assert "cannot be read" in reasons["gone.wav"] and "cannot be read" in reasons["broken.wav"]
    assert "an array of shape (3,), not [frames, d]" in reasons["flat.wav"]
    assert all(clip in caplog.text for clip in reasons)


def test_embeddings_of_another_model_are_refused_by_name(clips, tmp_path, rng):
    _write(tmp_path, "other.wav", rng.normal(size=(4, 7)))
    with pytest.raises(InputError, match=r"other.npz holds embeddings of 7 dimensions, 5 other clips of 3"):
        stack_embeddings(tmp_path, [*clips, "other.wav"])


def test_clips_whose_values_are_damaged_or_not_finite_are_left_out_by_name(clips, tmp_path):
    _write(tmp_path, "2.wav", np.full((4, 3), np.nan))
    path = embedding_path(tmp_path, "3.wav")
    content = bytearray(path.read_bytes())
    # Behind the header, where only the archive's checksum tells.
    content[200] ^= 255
    path.write_bytes(content)
    stacked = stack_embeddings(tmp_path, clips)
    assert stacked.clips == ["0.wav", "1.wav", "4.wav"]
    np.testing.assert_allclose(stacked.features, [clips[clip] for clip in stacked.clips], rtol=1e-3)
    reasons = {entry["recording"]: entry["reason"] for entry in stacked.skipped}
    assert "holds a value that is not finite" in reasons["2.wav"]
    assert "cannot be read as an embedding file" in reasons["3.wav"]


def test_a_folder_without_embeddings_is_refused(tmp_path):
    with pytest.raises(InputError, match="Not one of 1 clips has an embedding"):
        stack_embeddings(tmp_path, ["a.wav"])


@pytest.mark.parametrize(
    ("times", "others", "paired"),
    [
        ([0, 0.96, 1.92], [0, 0.96, 1.92], True),
        ([0, 0.96, 1.92], [0, 0.9599, 1.9201], True),
        ([0, 0.96, 1.92], [0, 0.96], True),
        ([0, 0.96, 1.92], [0], False),
        ([0, 0.96, 1.92], [0, 0.5, 1.0], False),
    ],
)
def test_two_files_of_a_clip_are_paired_if_their_frames_begin_together(tmp_path, times, others, paired):
    for name, each in (("one", times), ("other", others)):
        write_embedding(tmp_path / f"{name}.npz", np.zeros((len(each), 2), np.float32), np.array(each, float))
    paths = tmp_path / "one.npz", tmp_path / "other.npz"
    if paired:
        check_paired(*paths)
        check_paired(*reversed(paths))
    else:
        with pytest.raises(InputError, match=r"one.npz has 3 frames and .*other.npz"):
            check_paired(*paths)
