"""`sea fetch`, from a server on this machine: data sets in their real layouts, at a small size."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from l3embedding.cli import fetch
from l3embedding.cli.fetch import fetch_dataset
from l3embedding.cli.sea import main
from l3embedding.data.datasets import DATASETS, RemoteFile
from l3embedding.models import registry
from l3embedding.models.registry import CACHE_VARIABLE
from l3embedding.utils.errors import InputError
from tests.support.file_server import FileServer


def _wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(80), 8000, format="WAV")
    return buffer.getvalue()


US8K = {
    "UrbanSound8K/metadata/UrbanSound8K.csv": b"slice_file_name,fold,class\na.wav,1,siren\nb.wav,2,siren\n",
    "UrbanSound8K/audio/fold1/a.wav": _wav(),
    "UrbanSound8K/audio/fold2/b.wav": _wav(),
}
ESC50 = {
    "ESC-50-master/meta/esc50.csv": b"filename,fold,target,category\na.wav,1,0,dog\nb.wav,2,0,dog\n",
    "ESC-50-master/audio/a.wav": _wav(),
    "ESC-50-master/audio/b.wav": _wav(),
}
DCASE2013 = {"scenes_stereo/bus01.wav": _wav(), "scenes_stereo/bus02.wav": _wav()}
SONYC_HEAD = b"split,sensor_id,audio_filename,annotator_id,1-1_small_presence,1_engine_presence\n"
SONYC = {
    "annotations.csv": SONYC_HEAD + b"train,1,a.wav,1,1,1\nvalidate,2,b.wav,0,1,1\n",
    "dcase-ust-taxonomy.yaml": b"coarse: {1: engine}\nfine: {1: {1: small}}\n",
    "audio-0.tar.gz": {"audio/a.wav": _wav()},
    "audio-1.tar.gz": {"audio/b.wav": _wav()},
}
CONTENT = {
    "us8k": {"UrbanSound8K.tar.gz": US8K},
    "esc50": {"master.zip": ESC50},
    "dcase2013": {"scenes_stereo.zip": DCASE2013},
    "sonyc_ust": SONYC,
}


def _packed(name: str, files: dict[str, bytes] | bytes) -> bytes:
    if isinstance(files, bytes):
        return files
    buffer = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def server(monkeypatch):
    """Serves each data set with two clips; `DATASETS` names its files."""
    files = {f"/{name}": _packed(name, each) for content in CONTENT.values() for name, each in content.items()}
    with FileServer(files).running() as started:
        for key, content in CONTENT.items():
            md5 = {name: f"md5:{hashlib.md5(files[f'/{name}']).hexdigest()}" for name in content}
            drifts = DATASETS[key].files[0].drifts
            remote = tuple(RemoteFile(f"{started.url}/{name}", md5[name], drifts) for name in content)
            monkeypatch.setitem(DATASETS, key, replace(DATASETS[key], files=remote, clips=2))
        yield started


@pytest.mark.parametrize("key", CONTENT)
def test_a_fetched_data_set_can_be_read(server, tmp_path, key, capsys):
    assert main(["fetch", key.replace("_", "-"), "--to", str(tmp_path)]) == 0
    assert (
        f"2 clips{'' if key == 'sonyc_ust' else ' in 2 folds'}: dataset.root={tmp_path / key}"
        in capsys.readouterr().out
    )
    clips = DATASETS[key].read(tmp_path / key)
    assert clips["path"].map(Path.is_file).all()
    assert not [path for path in (tmp_path / key).rglob("*") if path.suffix in (".zip", ".gz")]


@pytest.mark.parametrize("key", CONTENT)
def test_a_data_set_is_fetched_once(server, tmp_path, key):
    fetch_dataset(DATASETS[key], tmp_path)
    asked = len(server.requests)
    fetch_dataset(DATASETS[key], tmp_path)
    assert len(server.requests) == asked


def test_a_copy_of_the_data_set_is_recognised(server, tmp_path):
    fetch_dataset(DATASETS["us8k"], tmp_path / "a")
    server.requests.clear()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / fetch.FETCHED).unlink()
    fetch_dataset(DATASETS["us8k"], tmp_path / "b")
    assert server.requests == []


def test_archives_are_kept_on_request(server, tmp_path):
    fetch_dataset(DATASETS["us8k"], tmp_path, keep_archives=True)
    assert (tmp_path / "UrbanSound8K.tar.gz").is_file()


def test_an_interrupted_fetch_resumes_with_the_missing_archive(server, tmp_path):
    last = server.files.pop("/audio-1.tar.gz")
    with pytest.raises(InputError, match=rf"audio-1.tar.gz cannot be fetched.*put it at {tmp_path}"):
        fetch_dataset(DATASETS["sonyc_ust"], tmp_path)
    server.files["/audio-1.tar.gz"] = last
    server.requests.clear()
    fetch_dataset(DATASETS["sonyc_ust"], tmp_path)
    assert server.requests == [("/audio-1.tar.gz", None)]


def test_an_archive_that_a_user_put_there_is_used(server, tmp_path):
    (tmp_path / "UrbanSound8K.tar.gz").write_bytes(server.files.pop("/UrbanSound8K.tar.gz"))
    fetch_dataset(DATASETS["us8k"], tmp_path)
    assert server.requests == []


def test_an_archive_that_drifts_is_accepted_with_a_warning_and_any_other_refused(server, tmp_path, caplog):
    for name in ("master.zip", "UrbanSound8K.tar.gz"):
        content = ESC50 if name == "master.zip" else US8K
        server.files[f"/{name}"] = _packed(name, content | {"new.txt": b"new"})
    with caplog.at_level(logging.WARNING):
        fetch_dataset(DATASETS["esc50"], tmp_path / "esc50")
    assert "GitHub creates this archive" in caplog.text
    with pytest.raises(InputError, match="the server.s is not the official file"):
        fetch_dataset(DATASETS["us8k"], tmp_path / "us8k")


def test_missing_clips_are_counted(server, tmp_path):
    with pytest.raises(InputError, match="has 2 of the 3 clips of UrbanSound8K"):
        fetch_dataset(replace(DATASETS["us8k"], clips=3), tmp_path)


def test_the_needed_space_is_logged_and_too_little_is_refused(server, tmp_path, caplog):
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(InputError, match=r"GB free, but UrbanSound8K needs 9000006.0 GB"),
    ):
        fetch_dataset(replace(DATASETS["us8k"], unpacked_gb=9e6), tmp_path)
    assert "about 6.0 GB to fetch" in caplog.text
    assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["us9k"], "'us9k' is neither one of us8k, sonyc-ust, esc50, dcase2013, edgel3, openl3, vggish"),
        (["edgel3", "--to", "x"], "--to is for data sets"),
    ],
)
def test_a_mistake_is_a_sentence(arguments, message, capsys):
    assert main(["fetch", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_vggish_is_fetched_and_refused_if_it_is_something_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with FileServer({"/vggish_model.ckpt": b"<html>a page for those who log in</html>"}).running() as server:
        model = replace(registry.find("vggish"), url=f"{server.url}/vggish_model.ckpt")
        monkeypatch.setitem(registry.models(), "vggish", model)
        assert main(["fetch", "vggish"]) == 2
    assert f"{tmp_path}/vggish_model.ckpt is not a TensorFlow checkpoint" in capsys.readouterr().err
    assert main(["models"]) == 0
    assert re.search(r"vggish +288.6 +128 +16000 Hz, 64 bins +apache-2.0 +yes", capsys.readouterr().out)
