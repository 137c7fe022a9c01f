"""Reading, framing and quantising audio."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from l3embedding.data.audio import frame_audio, from_int16, probe_audio, read_audio, resample, to_int16
from l3embedding.utils.errors import InputError


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_stereo_recording_is_read_as_the_mean_of_its_channels(tmp_path, rng, suffix):
    audio = rng.uniform(-0.5, 0.5, (8000, 2)).astype(np.float32)
    path = tmp_path / f"stereo{suffix}"
    soundfile.write(path, audio, 8000)
    read, rate = read_audio(path)
    reference = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    assert rate == 8000
    np.testing.assert_allclose(read, reference, atol=1e-7)


def _bad_files(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    (tmp_path / "zero.wav").touch()
    (tmp_path / "text.wav").write_text("this is no audio")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.1]), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "whole.wav", np.full(8000, 0.1), 8000)
    content = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "truncated.wav").write_bytes(content[: len(content) // 2])
    soundfile.write(tmp_path / "whole.flac", np.random.default_rng(0).normal(0, 0.1, 8000), 8000)
    content = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "truncated.flac").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.wav", "no samples"),
        ("zero.wav", "cannot be read"),
        ("text.wav", "cannot be read"),
        ("nan.wav", "not a finite number .the first at sample 1"),
        ("truncated.wav", "truncated"),
        ("truncated.flac", "truncated|cannot be read"),
        ("missing.wav", "not a file"),
    ],
)
def test_a_bad_recording_is_refused_by_name_and_reason(tmp_path, name, reason):
    _bad_files(tmp_path)
    with pytest.raises(InputError, match=reason) as error:
        read_audio(tmp_path / name)
    assert name in str(error.value)


def test_a_header_gives_length_and_rate_and_reveals_some_errors(tmp_path):
    _bad_files(tmp_path)
    assert probe_audio(tmp_path / "whole.flac") == (8000, 8000)
    assert probe_audio(tmp_path / "nan.wav") == (3, 8000)
    for name, reason in (("empty.wav", "no samples"), ("text.wav", "cannot be read"), ("truncated.wav", "truncated")):
        with pytest.raises(InputError, match=f"{name}.*{reason}"):
            probe_audio(tmp_path / name)


@given(
    n=st.integers(1, 500),
    frame=st.integers(1, 100),
    hop=st.integers(1, 120),
    center=st.booleans(),
    pad_end=st.booleans(),
)
def test_frames_are_the_audio_at_multiples_of_the_hop(n, frame, hop, center, pad_end):
    audio = np.arange(1, n + 1, dtype=np.float32)
    frames = frame_audio(audio, frame, hop, center=center, pad_end=pad_end)
    padded = np.concatenate([np.zeros(frame // 2 if center else 0), audio, np.zeros(frame + hop)])
    for index, each in enumerate(frames):
        np.testing.assert_array_equal(each, padded[index * hop : index * hop + frame])
    if pad_end and hop <= frame:
        assert frames.max() == n, "no sample is lost"
    if not pad_end and not center and n >= frame:
        assert len(frames) == 1 + (n - frame) // hop


def test_frames_of_whole_audio_are_a_view():
    audio = np.zeros(48000, np.float32)
    assert np.shares_memory(frame_audio(audio, 8000, 800), audio)


def test_int16_audio_comes_back_within_half_a_step(rng):
    audio = rng.uniform(-1, 0.9999, 1000)
    np.testing.assert_allclose(from_int16(to_int16(audio)), audio, atol=0.5 / 32768 + 1e-7)
    assert to_int16(np.array([2.0, -2.0])).tolist() == [32767, -32768]


def test_resampling_keeps_a_tone():
    time = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    low = resample(tone, 48000, 8000)
    assert len(low) == 8000
    np.testing.assert_allclose(low[500:-500], np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)[500:-500], atol=1e-4)
