"""Lists of recordings, and when they were made."""

from __future__ import annotations

import numpy as np
import pytest

from l3embedding.data.recordings import by_sensor, list_recordings
from l3embedding.utils.errors import InputError


def _touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_each_folder_is_a_sensor_and_times_are_read_from_file_names(tmp_path):
    for name in ("b/b_20190314T153000.wav", "a/1552577400.25.flac", "a/undated.ogg", "a/notes.txt"):
        _touch(tmp_path / name)
    sensors = by_sensor(list_recordings(tmp_path))
    assert list(sensors) == ["a", "b"]
    assert [recording.path.name for recording in sensors["a"]] == ["undated.ogg", "1552577400.25.flac"]
    assert np.isnan(sensors["a"][0].timestamp)
    assert sensors["a"][1].timestamp == 1552577400.25
    assert sensors["b"][0].timestamp == 1552577400.0


def test_a_table_gives_sensor_time_and_level(tmp_path):
    (tmp_path / "recordings.csv").write_text(
        "path,sensor,timestamp,spl\nx.wav,s1,2019-03-14T11:30:00-04:00,61.5\ny.wav,s1,1552577401,\n"
    )
    first, second = list_recordings(tmp_path)
    assert (first.timestamp, first.spl) == (1552577400.0, 61.5)
    assert (second.timestamp, second.spl) == (1552577401.0, None)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,timestamp\nx.wav,1\n", "lacks the column sensor"),
        ("path,sensor,timestamp\nx.wav,s,noon\n", "line 2: timestamp 'noon'"),
        ("path,sensor,timestamp\nx.wav,../s,1\n", "line 2: '../s' is no sensor name"),
        ("path,sensor,timestamp\nx.wav,s,1\nx.wav,s,2\n", "x.wav more than once"),
        ("path,sensor,timestamp,spl\nx.wav,s,1,loud\n", "line 2: spl 'loud'"),
        ("", "cannot be read as a CSV table"),
        ("path,sensor,timestamp\n", "holds no recordings"),
    ],
)
def test_a_bad_table_is_refused_by_line_and_value(tmp_path, table, message):
    (tmp_path / "recordings.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        list_recordings(tmp_path)


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no recordings"):
        list_recordings(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        list_recordings(tmp_path / "nowhere")
