"""Embedding files as openl3 and edgel3 do: names, existing outputs, bad files, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import l3embedding
from l3embedding.audio_files import embed_files, get_output_path, list_jobs, process_file
from l3embedding.embedding import get_embedding
from l3embedding.models import registry
from l3embedding.models.loading import model_name
from l3embedding.models.networks import embedding_model, l3_audio_network
from l3embedding.models.representation import student_representation
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.settings import StudentSettings
from l3embedding.utils.errors import InputError
from tests.conftest import REPOSITORY

TINY = student_representation(StudentSettings(asr=2000, num_mels=16, num_dft=256, hop_len=125))


@pytest.fixture(scope="module")
def network():
    return l3_audio_network(TINY.image_shape, (2, 2, 2, 4), "linear")


@pytest.fixture(scope="module")
def model(network):
    return KerasEmbeddingModel("tiny", TINY, network)


@pytest.fixture
def folder(tmp_path, rng):
    """A field trip: two folders with the same names, and two files that are not audio."""
    for place in ("park", "street"):
        (tmp_path / "audio" / place).mkdir(parents=True)
        soundfile.write(tmp_path / "audio" / place / "a.wav", rng.normal(0, 0.1, 24000), 8000)
    soundfile.write(tmp_path / "audio" / "stereo.flac", rng.normal(0, 0.1, (44100, 2)), 44100)
    (tmp_path / "audio" / "park" / "bad.ogg").write_text("no audio")
    (tmp_path / "audio" / "park" / "notes.txt").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("/a/b.wav", ".npz"), "/a/b.npz"),
        (("/a/b.wav", "embedding.npz"), "/a/b_embedding.npz"),
        (("/a/b.c.wav", ".npz", "/out"), "/out/b.c.npz"),
        (("b.wav", "x.npz", "/out"), "/out/b_x.npz"),
    ],
)
def test_an_output_is_named_as_openl3_names_it(arguments, expected):
    assert get_output_path(*arguments) == expected


def test_an_output_folder_repeats_the_folders_and_bad_files_are_skipped(folder, model):
    jobs = list_jobs([folder / "audio"], folder / "out", None)
    skipped = embed_files(jobs, model, hop_size=0.5)
    written = sorted(str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.npz"))
    assert written == ["park/a.npz", "stereo.npz", "street/a.npz"]
    assert [os.path.basename(each["recording"]) for each in skipped] == ["bad.ogg"]
    audio, rate = soundfile.read(folder / "audio" / "stereo.flac", dtype="float32")
    embedding, timestamps = get_embedding(audio, rate, model, hop_size=0.5)
    stored = np.load(folder / "out" / "stereo.npz")
    np.testing.assert_allclose(stored["embedding"], embedding, atol=1e-5)
    np.testing.assert_array_equal(stored["timestamps"], timestamps)


def test_existing_outputs_are_kept_unless_overwritten(folder, model):
    jobs = list_jobs([folder / "audio" / "street"], None, "tiny")
    assert jobs[0].output == folder / "audio" / "street" / "a_tiny.npz"
    embed_files(jobs, model)
    before = jobs[0].output.stat().st_mtime_ns
    embed_files(jobs, model)
    assert jobs[0].output.stat().st_mtime_ns == before
    embed_files(jobs, model, overwrite=True)
    assert jobs[0].output.stat().st_mtime_ns > before


def test_leftovers_of_a_killed_run_are_removed_and_those_of_a_live_one_kept(folder, model):
    jobs = list_jobs([folder / "audio" / "street"], folder / "out", None)
    (folder / "out").mkdir()
    dead, alive = (folder / "out" / f".partial-a-{name}.npz" for name in ("dead", "alive"))
    dead.touch(), alive.touch()
    os.utime(dead, (1, 1))
    os.utime(alive, (2**33, 2**33))
    embed_files(jobs, model)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [".partial-a-alive.npz", "a.npz"]


def test_colliding_outputs_and_missing_inputs_are_refused_before_work_begins(folder):
    files = [folder / "audio" / place / "a.wav" for place in ("park", "street")]
    with pytest.raises(InputError, match=r"would both become .*a\.npz"):
        list_jobs(files, folder / "out", None)
    with pytest.raises(InputError, match="does not exist"):
        list_jobs([folder / "nowhere"], None, None)
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="There is no audio"):
        list_jobs([folder / "empty"], None, None)


def test_one_file_is_processed_as_in_the_packages(folder, model):
    path = process_file(folder / "audio" / "stereo.flac", folder / "out", "x", model, hop_size=0.5, center=False)
    assert path == folder / "out" / "stereo_x.npz"
    assert set(np.load(path)) == {"embedding", "timestamps"}


def test_a_list_of_recordings_gives_lists(model, rng):
    clips = [rng.normal(0, 0.1, 4000), rng.normal(0, 0.1, 6000)]
    embeddings, timestamps = l3embedding.get_embedding(clips, 2000, model=model, hop_size=0.5, verbose=0)
    assert [len(each) for each in embeddings] == [len(each) for each in timestamps]
    np.testing.assert_array_equal(embeddings[1], get_embedding(clips[1], 2000, model, hop_size=0.5)[0])
    rates, _ = get_embedding(clips, [2000, 4000], model, hop_size=0.5)
    assert len(rates[1]) < len(embeddings[1])
    with pytest.raises(l3embedding.OpenL3Error, match="2 recordings, but 1 sampling rates"):
        get_embedding(clips, [2000], model)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"input_repr": "mel128", "content_type": "env"}, "openl3_audio_mel128_env-v0_4_0"),
        ({"content_type": "music"}, "openl3_audio_mel256_music-v0_4_0"),
        ({"input_repr": "linear", "frontend": "kapre_v0_1"}, "openl3_audio_linear_music"),
        ({}, "edgel3_sea_ust_audio_emb_128"),
        ({"model_type": "sea", "emb_dim": 64}, "edgel3_sea_ust_audio_emb_64"),
        ({"model_type": "sparse"}, "edgel3_ft_audio_sparsity_95.45"),
        ({"model_type": "sparse", "retrain_type": "kd", "sparsity": 53.5}, "edgel3_kd_audio_sparsity_53.5"),
    ],
)
def test_the_packages_arguments_name_a_model(arguments, name):
    assert model_name(**arguments) == name


@pytest.mark.parametrize("arguments", [{"emb_dim": 100}, {"input_repr": "mel64"}, {"model_type": "dense"}])
def test_an_unknown_model_is_refused_as_in_the_packages(arguments):
    with pytest.raises(l3embedding.EdgeL3Error):
        model_name(**arguments)


def test_the_command_embeds_missing_files_and_logs_unreadable_ones(folder, network):
    embedding_model(TINY, network).save(folder / "tiny.keras")
    command = [sys.executable, "-m", "l3embedding.cli.sea", "embed", folder / "audio", "-o", folder / "out"]
    command += ["--model", folder / "tiny.keras", "--hop-size", "0.5"]
    first, second, quiet = (
        subprocess.run([*map(str, command), *more], cwd=REPOSITORY, capture_output=True, text=True)
        for more in ([], [], ["--quiet", "--overwrite"])
    )
    assert first.returncode == second.returncode == quiet.returncode == 0, first.stderr
    assert "3 of 4 files are embedded" in first.stdout
    assert "skipped" in first.stderr and "bad.ogg" in first.stderr
    assert "3 of 4 embeddings exist already" in second.stderr
    assert quiet.stdout == ""


def test_models_are_listed_with_their_input():
    listed = subprocess.run(
        [sys.executable, "-m", "l3embedding.cli.sea", "models"], cwd=REPOSITORY, capture_output=True, text=True
    )
    lines = listed.stdout.splitlines()
    assert lines[0].split()[:5] == ["model", "MB", "dimension", "input", "licence"]
    assert [line.split()[0] for line in lines[1:-1]] == list(registry.models())
    (sea,) = [line for line in lines if line.startswith("edgel3_sea_ust_audio_emb_128 ")]
    assert sea.split()[1:6] == ["2.3", "128", "8000", "Hz,", "64"]


def test_an_unknown_name_is_not_fetched():
    command = [sys.executable, "-m", "l3embedding.cli.sea", "fetch", "openl4"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "`sea models` lists" in ended.stderr
