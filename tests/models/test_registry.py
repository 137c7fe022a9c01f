"""The registry of pretrained models: one file per family, weights found, verified and fetched."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from l3embedding.cli.sea import main
from l3embedding.embedding import load_model
from l3embedding.models import pretrained, registry
from l3embedding.models.registry import CACHE_VARIABLE, L3Model, WeightsNotFound, architecture_of
from l3embedding.utils.downloads import verify
from l3embedding.utils.errors import InputError
from tests.conftest import REPOSITORY
from tests.support.file_server import FileServer

NAME = "edgel3_sea_ust_audio_emb_64"
L3_NAMES = sorted(name for name, model in registry.models().items() if isinstance(model, L3Model))

LOUDNESS = """
import numpy as np
from l3embedding.models.interface import PluggedTeacher
from l3embedding.models.registry import Family, Pretrained

class Loudness:
    sample_rate, frame_length, embedding_size = 100, 100, 1
    def __init__(self, gain):
        self.gain = gain
    def embed(self, frames):
        return self.gain * np.abs(frames).max(axis=1, keepdims=True)

def load(path, model, batch_size):
    return PluggedTeacher(Loudness(float(path.read_text())), model.name, batch_size)

LOUD = Pretrained(name="loudness", licence="mit", sample_rate=100, bins=1, dimensions=(1,), parameters=1,
                  url="http://127.0.0.1:9/loud.txt", files=("loud.txt",), loader=f"{__name__}:load")
FAMILY = Family("loud", "https://example.org", (LOUD,), fetched=("loudness",))
"""


@pytest.fixture
def one_more_family(tmp_path, monkeypatch):
    """A folder in which a family is one file."""
    (tmp_path / "loud_family.py").write_text(LOUDNESS)
    monkeypatch.setattr(pretrained, "__path__", [*pretrained.__path__, str(tmp_path)])
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    registry.families.cache_clear(), registry.models.cache_clear()
    yield tmp_path
    registry.families.cache_clear(), registry.models.cache_clear()
    sys.modules.pop("l3embedding.models.pretrained.loud_family")


def test_a_file_adds_a_family_that_is_listed_fetched_and_loaded(one_more_family, capsys):
    with pytest.raises(WeightsNotFound, match=f"Fetch http://127.0.0.1:9/loud.txt and put it at {one_more_family}"):
        load_model("loudness")
    (one_more_family / "loud.txt").write_text("2.0")
    model = load_model("loudness", batch_size=4)
    assert (model.name, model.batch_size) == ("loudness", 4)
    np.testing.assert_array_equal(model.embed(np.eye(3, 100, dtype=np.float32)), np.full((3, 1), 2.0))
    with pytest.raises(InputError, match="loudness embeds in 1 dimensions, not 512"):
        load_model("loudness", embedding_size=512)
    assert main(["models"]) == main(["fetch", "loud"]) == 0
    printed = capsys.readouterr().out
    assert "loudness" in printed and str(one_more_family / "loud.txt") in printed and "https://example.org" in printed


def test_an_unknown_name_is_refused_with_the_nearest_first():
    for unknown, nearest in (("openl3_audio_mel256_enw", "openl3_audio_mel256_env"), ("vgish", "vggish")):
        for refuse in (registry.find, load_model):
            with pytest.raises(InputError, match=f"(there|those) are {nearest}, .*{NAME}"):
                refuse(unknown)


@pytest.mark.parametrize(
    "arguments", [["models"], ["embed", "README.md", "--model", "openl4"], ["fetch", "openl4"], ["--help"]]
)
def test_names_are_resolved_without_keras(arguments):
    code = "import sys; from l3embedding.cli.sea import main\n"
    code += f"try: main({arguments})\nfinally: sys.exit(bool({{'keras', 'tensorflow'}} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_names_are_unique_and_fetched_names_exist():
    names = [model.name for family in registry.families().values() for model in family.models]
    assert len(names) == len(set(names)) == 34
    for family in registry.families().values():
        assert family.fetched and set(family.fetched) <= {model.name for model in family.models}
    assert registry.DEFAULT_MODEL in names


@pytest.mark.parametrize("name", L3_NAMES)
def test_every_official_name_has_its_architecture(name):
    architecture = architecture_of(name)
    assert len(architecture.filters) == 4
    assert (architecture.representation.convention == "kapre") == name.endswith("-v0_4_0")
    assert architecture.head == ("relu" if "sea" in name else "openl3")
    assert registry.find(name).dimensions[0] == architecture.filters[-1]


def test_a_model_that_is_no_l3_network_has_no_architecture():
    with pytest.raises(InputError, match="vggish is not an L3 network"):
        architecture_of("vggish")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (f"{NAME}.h5.gz", NAME),
        ("openl3_audio_mel256_env-v0_4_0.h5", "openl3_audio_mel256_env-v0_4_0"),
        ("vggish_model.ckpt", "vggish"),
        ("x.ckpt.index", "vggish"),
        ("vggish.h5", "vggish"),
        ("vggish_relu.h5", "vggish"),
        ("student.h5", None),
        (f"my_{NAME}.h5", None),
    ],
)
def test_a_file_is_recognised_by_its_name(tmp_path, file, name):
    found = registry.of_file(tmp_path / file)
    assert (found and found.name) == name


def _replace(monkeypatch, name, **changes):
    monkeypatch.setitem(registry.models(), name, replace(registry.find(name), **changes))
    return registry.find(name)


def _of_content(monkeypatch, content, **changes):
    """The model of `NAME`, whose official weights are these."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return _replace(monkeypatch, NAME, checksum=f"git:{blob}", **changes)


def test_folders_are_searched_in_order_and_the_cache_last(tmp_path, monkeypatch):
    model = _of_content(monkeypatch, b"weights")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    for folder in ("cache", "lab"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{NAME}.h5.gz").write_bytes(b"weights")
    assert model.is_cached
    assert model.locate().parent == tmp_path / "cache"
    assert model.locate([tmp_path / "nowhere", tmp_path / "lab"]).parent == tmp_path / "lab"


def test_a_file_with_other_content_is_refused(tmp_path):
    (tmp_path / f"{NAME}.h5.gz").write_bytes(b"weights")
    with pytest.raises(InputError, match="is not the official file"):
        registry.find(NAME).locate([tmp_path])


@pytest.mark.parametrize("name", [NAME, "vggish", "vggish_relu"])
def test_without_a_network_the_error_names_the_url_and_where_to_put_the_file(tmp_path, monkeypatch, name):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    model = _replace(monkeypatch, name, url="http://127.0.0.1:9/weights")
    for download in (False, True):
        with pytest.raises(
            WeightsNotFound, match=f"Fetch http://127.0.0.1:9/weights and put it at {tmp_path}/{model.files[0]}"
        ):
            load_model(name, download=download)
    assert not list(tmp_path.iterdir())


def test_the_released_student_is_the_official_file(shared):
    model = registry.find(NAME)
    verify(model.locate([shared / "sea64"]), model.checksum)


def test_an_interrupted_download_is_resumed_and_verified(tmp_path, rng, monkeypatch):
    content = rng.bytes(200_000)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr("l3embedding.utils.downloads.PAUSE_S", 0.0)
    with FileServer({f"/{NAME}.h5.gz": content}, cuts=[5 << 14, None]).running() as server:
        model = _of_content(monkeypatch, content, url=f"{server.url}/{NAME}.h5.gz")
        assert model.locate().read_bytes() == content
        assert [asked for _, asked in server.requests] == [None, f"bytes={5 << 14}-"]
    assert model.locate().read_bytes() == content


def test_without_a_checksum_the_file_is_fetched_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with FileServer({"/vggish_model.ckpt": b"weights"}).running() as server:
        path = _replace(monkeypatch, "vggish", url=f"{server.url}/vggish_model.ckpt").locate()
    assert path == tmp_path / "vggish_model.ckpt"
    assert path.read_bytes() == b"weights"
