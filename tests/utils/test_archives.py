"""Archives: unpacked, resumed, refused where they would do harm."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from l3embedding.utils.archives import extract
from l3embedding.utils.errors import InputError

FILES = {"top/meta/table.csv": b"a,b\n", "top/audio/a.wav": b"a" * 5000, "top/audio/b.wav": b"b" * 5000}


def _pack(path, files=FILES, links=()):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in files.items():
                file.writestr(name, content)
            for name in links:
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o120777 << 16
                file.writestr(info, "/etc/passwd")
        return path
    with tarfile.open(path, "w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "audio/a.wav"
            file.addfile(info)
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_files_are_unpacked_without_the_top_folder(tmp_path, name):
    extract(_pack(tmp_path / name), tmp_path / "out", "top")
    found = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert found == {each.removeprefix("top/"): content for each, content in FILES.items()}


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_whole_files_are_left_alone_and_partial_ones_replaced(tmp_path, name):
    archive, audio = _pack(tmp_path / name), tmp_path / "out" / "top" / "audio"
    extract(archive, tmp_path / "out")
    before = (audio / "a.wav").stat().st_mtime_ns
    (audio / "b.wav").write_bytes(b"half")
    (audio / ".partial-x.wav").touch()
    extract(archive, tmp_path / "out")
    assert (audio / "a.wav").stat().st_mtime_ns == before
    assert (audio / "b.wav").read_bytes() == FILES["top/audio/b.wav"]
    assert not (audio / ".partial-x.wav").exists()


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
@pytest.mark.parametrize("member", ["../evil", "top/../../evil"])
def test_nothing_is_written_outside_the_folder(tmp_path, name, member):
    archive = _pack(tmp_path / name, {member: b"x"})
    with pytest.raises(InputError, match=r"x\.(zip|tar\.gz).*outside"):
        extract(archive, tmp_path / "out")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_a_link_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="link"):
        extract(_pack(tmp_path / name, links=["link"]), tmp_path / "out")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_the_error_names_a_damaged_archive(tmp_path, name):
    archive = _pack(tmp_path / name)
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(InputError, match=f"{name} is damaged"):
        extract(archive, tmp_path / "out")
