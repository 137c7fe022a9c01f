"""The layout of UrbanSound8K."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from l3embedding.data.urbansound8k import TABLE, read_urbansound8k
from l3embedding.utils.errors import InputError

HEAD = "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
ROWS = [
    "9-0-0-1.wav,9,0,4,1,10,0,air_conditioner",
    "7-3-0-0.wav,7,0,0.5,2,1,3,dog_bark",
    "8-1-0-0.wav,8,0,4,1,1,1,siren",
]


@pytest.fixture
def root(tmp_path) -> Path:
    """Three clips."""
    _write(tmp_path, ROWS)
    for name in ("fold10/9-0-0-1.wav", "fold1/7-3-0-0.wav", "fold1/8-1-0-0.wav"):
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "audio" / name).touch()
    return tmp_path


def _write(root: Path, rows: list[str], head: str = HEAD) -> None:
    (root / TABLE).parent.mkdir(exist_ok=True)
    (root / TABLE).write_text(head + "".join(f"{row}\n" for row in rows))


def test_clips_are_listed_by_name_with_path_fold_and_class(root):
    clips = read_urbansound8k(root)
    assert list(clips.columns) == ["filename", "fold", "category", "path"]
    assert clips["filename"].tolist() == ["7-3-0-0.wav", "8-1-0-0.wav", "9-0-0-1.wav"]
    assert clips["path"].map(Path.is_file).all()
    assert clips["fold"].tolist() == [1, 1, 10]
    assert clips["category"].tolist() == ["dog_bark", "siren", "air_conditioner"]


def test_a_missing_clip_is_named_and_skipped(root, caplog):
    (root / "audio" / "fold1" / "7-3-0-0.wav").unlink()
    with caplog.at_level(logging.WARNING):
        assert len(read_urbansound8k(root)) == 2
    assert "lists 7-3-0-0.wav, which is not in" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, "6.wav,6,0,4,1,,0,siren"], "row 5 has no whole number as its fold: .*6.wav"),
        ([*ROWS, "6.wav,6,0,4,1,one,0,siren"], "row 5 has no whole number as its fold"),
        ([*ROWS, "6.wav,6,0,4,1,2.5,0,siren"], "row 5 has no whole number as its fold"),
        ([*ROWS, "6.wav,6,0,4,1,2,0,"], "row 5 lacks a value"),
        ([*ROWS, ROWS[0]], "row 5 names a clip that an earlier row names"),
        (['"'], "cannot be read"),
    ],
)
def test_a_malformed_table_is_refused_by_its_row(root, rows, message):
    _write(root, rows)
    with pytest.raises(InputError, match=f"UrbanSound8K.csv.*{message}"):
        read_urbansound8k(root)


@pytest.mark.parametrize("column", ["slice_file_name", "fold", "class"])
def test_a_missing_column_is_named(root, column):
    _write(root, ROWS, HEAD.replace(f"{column},", "other,").replace(f",{column}\n", ",other\n"))
    with pytest.raises(InputError, match=f"lacks the column {column}; it has .*other"):
        read_urbansound8k(root)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="UrbanSound8K.csv cannot be read"):
        read_urbansound8k(tmp_path)
    _write(tmp_path, ROWS)
    with pytest.raises(InputError, match="Not one clip that"):
        read_urbansound8k(tmp_path)
