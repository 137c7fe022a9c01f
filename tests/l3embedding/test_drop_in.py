"""The behaviour that openl3 and edgel3 test in their tests/test_core.py, with one model of each instead of all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from l3embedding import edgel3, openl3
from l3embedding.data.audio import frame_audio
from l3embedding.models import registry

SEA = {"model_type": "sea", "emb_dim": 64}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def chirp(shared):
    return soundfile.read(shared / "sea64" / "chirp_1s.wav")


@pytest.fixture(scope="module", autouse=True)
def cache(shared):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(registry.CACHE_VARIABLE, str(shared / "sea64"))
        # Nothing is fetched: missing weights are an error at once.
        for name, model in registry.models().items():
            patch.setitem(registry.models(), name, replace(model, url="http://127.0.0.1:9/"))
        yield


@pytest.fixture(scope="module")
def sea(cache):
    return edgel3.models.load_embedding_model(**SEA)


@pytest.fixture(scope="module")
def teacher(shared):
    path = shared / "openl3" / "openl3_audio_mel256_env.h5.gz"
    return openl3.models.load_audio_embedding_model_from_path(path, "mel256", 6144)


def test_a_loaded_model_gives_what_a_named_one_gives(chirp, sea):
    named, times = edgel3.get_embedding(*chirp, **SEA, center=True, hop_size=0.1, verbose=1)
    loaded, loaded_times = edgel3.get_embedding(*chirp, model=sea, hop_size=0.1, verbose=0)
    assert np.all(np.abs(np.diff(times) - 0.1) < TOLERANCE)
    assert named.shape[1] == 64
    np.testing.assert_allclose(loaded, named, atol=TOLERANCE)
    np.testing.assert_allclose(loaded_times, times, atol=TOLERANCE)


def test_the_arguments_are_in_the_packages_order(chirp, sea):
    expected = edgel3.get_embedding(*chirp, model=sea, center=False, hop_size=0.2)
    by_place = edgel3.get_embedding(*chirp, None, "sea", 64, "ft", 95.45, False, 0.2, 0)
    np.testing.assert_array_equal(by_place[0], expected[0])
    by_place = openl3.get_audio_embedding(*chirp, sea, "mel256", "music", 6144, False, 0.2, 32, "kapre", 0)
    np.testing.assert_array_equal(by_place[0], expected[0])


@pytest.mark.parametrize(("center", "hop_size"), [(True, 0.1), (False, 0.1), (False, 0.2)])
def test_the_number_of_frames_is_the_packages(chirp, sea, center, hop_size):
    audio, sr = chirp
    n_frames = 1 + int((audio.shape[0] + 0.5 * sr * center - sr) / float(int(hop_size * sr)))
    assert len(edgel3.get_embedding(audio, sr, model=sea, center=center, hop_size=hop_size)[0]) == n_frames


def test_stereo_other_rates_short_and_silent_audio_are_embedded(shared, chirp, sea):
    audio, sr = chirp
    mono, _ = edgel3.get_embedding(audio, sr, model=sea)
    stereo, _ = edgel3.get_embedding(np.stack([audio, audio], axis=1), sr, model=sea)
    np.testing.assert_allclose(stereo, mono, atol=TOLERANCE)
    assert not np.isnan(edgel3.get_embedding(*soundfile.read(shared / "sea64" / "chirp_44k.wav"), model=sea)[0]).any()
    with pytest.warns(edgel3.EdgeL3Warning, match="shorter than a frame"):
        embedding, times = edgel3.get_embedding(audio[: sr // 10], sr, model=sea, center=False)
    assert embedding.shape == (1, 64) and list(times) == [0] and not np.isnan(embedding).any()
    with pytest.warns(openl3.OpenL3Warning, match="silent"):
        assert not np.isnan(openl3.get_audio_embedding(np.zeros(sr), sr, model=sea)[0]).any()


def test_integer_samples_are_embedded(chirp, sea):
    audio, sr = chirp
    scaled, _ = edgel3.get_embedding(np.rint(audio * 32767).astype(np.int16), sr, model=sea)
    assert not np.isnan(scaled).any()


@pytest.mark.parametrize(
    "arguments",
    [
        {"input_repr": "invalid"},
        {"content_type": "invalid"},
        {"embedding_size": 42},
        {"embedding_size": "invalid"},
        {"frontend": "invalid"},
        {"frontend": "librosa"},
        {"hop_size": 0},
        {"hop_size": -1},
        {"hop_size": "invalid"},
        {"verbose": -1},
        {"center": "invalid"},
        {"model": 3},
    ],
)
def test_openl3s_arguments_are_refused_as_by_openl3(chirp, arguments):
    with pytest.raises(openl3.OpenL3Error) as refused:
        openl3.get_audio_embedding(*chirp, **arguments)
    assert "cannot be fetched" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "invalid"},
        {"retrain_type": "invalid"},
        {"retrain_type": 1},
        {"sparsity": 40},
        {"sparsity": 0},
        {"sparsity": -95.45},
        {"sparsity": "invalid"},
        {"model_type": "invalid"},
        {"emb_dim": 0},
        {"hop_size": 0},
        {"verbose": -1},
        {"center": "invalid"},
    ],
)
def test_edgel3s_arguments_are_refused_as_by_edgel3(chirp, arguments):
    with pytest.raises(edgel3.EdgeL3Error) as refused:
        edgel3.get_embedding(*chirp, **arguments)
    assert "cannot be fetched" not in str(refused.value)


@pytest.mark.parametrize("audio", [np.zeros(0), np.ones((10, 10, 10))])
def test_empty_audio_and_audio_of_three_dimensions_are_refused_as_by_the_packages(audio, sea):
    with pytest.raises(edgel3.EdgeL3Error):
        edgel3.get_embedding(audio, 48000, model=sea)


def test_lists_of_clips_may_have_rates_of_their_own(chirp, sea):
    audio, sr = chirp
    embeddings, times = openl3.get_audio_embedding([audio, audio[: sr // 2]], [sr, sr // 2], model=sea, hop_size=0.5)
    assert [len(each) for each in embeddings] == [len(each) for each in times] == [2, 2]
    np.testing.assert_allclose(embeddings[0], openl3.get_audio_embedding(audio, sr, sea, hop_size=0.5)[0], atol=1e-5)
    with pytest.raises(openl3.OpenL3Error, match="2 recordings, but 1 sampling rates"):
        openl3.get_audio_embedding([audio, audio], [sr], model=sea)


def test_openl3s_default_is_its_6144_dimensions(chirp, teacher):
    embedding, _ = openl3.get_audio_embedding(*chirp, model=teacher, hop_size=0.5)
    assert embedding.shape == (2, 6144) and not np.isnan(embedding).any()


def test_files_are_processed_as_by_the_packages(tmp_path, chirp, sea):
    here, out = tmp_path / "here", tmp_path / "out"
    here.mkdir()
    soundfile.write(here / "chirp.wav", *chirp)
    (here / "invalid.wav").write_text("This is not an audio file.")
    edgel3.process_file(str(here / "chirp.wav"), output_dir=str(out), **SEA, hop_size=0.5)
    edgel3.process_file(str(here / "chirp.wav"), output_dir=str(out), suffix="suffix", model=sea, hop_size=0.5)
    openl3.process_audio_file([str(here / "chirp.wav")], model=sea, hop_size=0.5, verbose=False)
    written = [out / "chirp.npz", out / "chirp_suffix.npz", here / "chirp.npz"]
    for path in written:
        data = np.load(path)
        assert data["embedding"].ndim == 2 and data["timestamps"].ndim == 1
    for path in (here / "invalid.wav", "/fake/directory/asdf.wav"):
        with pytest.raises(edgel3.EdgeL3Error):
            edgel3.process_file(str(path), model=sea)
        with pytest.raises(openl3.OpenL3Error):
            openl3.process_audio_file([str(path)], model=sea)


def test_openl3_keeps_existing_outputs_and_edgel3_overwrites_them(tmp_path, chirp, sea):
    soundfile.write(tmp_path / "chirp.wav", *chirp)
    (tmp_path / "chirp.npz").write_text("here before")
    openl3.process_audio_file(tmp_path / "chirp.wav", model=sea)
    assert (tmp_path / "chirp.npz").read_text() == "here before"
    edgel3.process_file(tmp_path / "chirp.wav", model=sea, hop_size=0.5)
    assert len(np.load(tmp_path / "chirp.npz")["embedding"]) == 2


@pytest.mark.parametrize(("frame", "zeros"), [(50, 25), (49, 24)])
def test_centring_puts_half_a_frame_of_zeros_in_front(frame, zeros):
    frames = frame_audio(np.ones(100), frame, 1, center=True)
    assert not frames[0, :zeros].any() and frames[0, zeros:].all()


@pytest.mark.parametrize(("samples", "padded"), [(10, 50), (90, 100), (100, 100)])
def test_the_end_is_padded_so_that_no_sample_is_lost(samples, padded):
    frames = frame_audio(np.ones(samples), 50, 25)
    assert 50 + 25 * (len(frames) - 1) == padded
    assert frames[-1].sum() == samples - 25 * (len(frames) - 1)
