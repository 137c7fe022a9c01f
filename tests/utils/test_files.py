"""Files that appear whole or not at all."""

from __future__ import annotations

import pytest

from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path, make_folder, read_json, write_json


def test_a_file_appears_only_when_its_writer_has_finished(tmp_path):
    path = tmp_path / "deep" / "result.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["result.json"]


def test_the_error_gives_the_reason_why_a_folder_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Not a directory"):
        make_folder(tmp_path / "file" / "folder")


def test_the_error_names_a_file_that_is_not_json(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="x.json is not valid JSON"):
        read_json(tmp_path / "x.json")
