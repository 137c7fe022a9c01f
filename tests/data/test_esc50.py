"""The layout of ESC-50."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from l3embedding.data.esc50 import read_esc50
from l3embedding.utils.errors import InputError

TABLE = "filename,fold,target,category,take\n2-b.wav,2,1,rain,A\n1-a.wav,1,0,dog,A\n3-c.wav,3,0,dog,B\n"


@pytest.fixture
def root(tmp_path) -> Path:
    """Three clips."""
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text(TABLE)
    (tmp_path / "audio").mkdir()
    for name in ("1-a.wav", "2-b.wav", "3-c.wav"):
        (tmp_path / "audio" / name).touch()
    return tmp_path


def test_clips_are_listed_by_name_with_path_fold_and_class(root):
    clips = read_esc50(root)
    assert clips["filename"].tolist() == ["1-a.wav", "2-b.wav", "3-c.wav"]
    assert clips["path"].tolist() == [root / "audio" / name for name in clips["filename"]]
    assert clips["fold"].tolist() == [1, 2, 3]
    assert clips["target"].tolist() == [0, 1, 0]
    assert clips["category"].tolist() == ["dog", "rain", "dog"]


def test_all_real_clips_are_found(shared):
    clips = read_esc50(shared / "esc10")
    assert clips["path"].map(Path.is_file).all()
    assert clips["category"].nunique() == clips["target"].nunique() == 10
    assert (clips["fold"] == clips["filename"].str.split("-").str[0].astype(int)).all()


def test_a_missing_clip_is_named_and_skipped(root, caplog):
    (root / "audio" / "1-a.wav").unlink()
    with caplog.at_level(logging.WARNING):
        clips = read_esc50(root)
    assert clips["filename"].tolist() == ["2-b.wav", "3-c.wav"]
    assert clips.index.tolist() == [0, 1]
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"skipped: {root / 'meta' / 'esc50.csv'} lists 1-a.wav"
    ]


@pytest.mark.parametrize("column", ["filename", "fold", "target", "category"])
def test_a_missing_column_is_named(root, column):
    (root / "meta" / "esc50.csv").write_text(TABLE.replace(column, "other", 1))
    with pytest.raises(InputError, match=f"esc50.csv lacks the column {column}; it has .*other"):
        read_esc50(root)


def test_a_missing_or_empty_table_is_refused_by_name(root):
    for action in (lambda path: path.write_text(""), Path.unlink):
        action(root / "meta" / "esc50.csv")
        with pytest.raises(InputError, match="esc50.csv cannot be read"):
            read_esc50(root)


def test_a_data_set_without_any_clip_is_refused(root):
    for path in (root / "audio").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="Not one clip that"):
        read_esc50(root)
