"""Measured levels: series of any interval, averages as the authors compute them, gaps."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from l3embedding.data.spl_series import SplSeries, find_series, read_series
from l3embedding.utils.errors import InputError


def test_a_frame_has_the_mean_of_the_values_in_its_hop_rounded_to_a_hundredth():
    series = SplSeries(100 + 0.125 * np.arange(12), np.arange(12.0) / 3)
    levels = series.levels(np.array([100.0, 100.5, 101.0]), 0.5)
    np.testing.assert_array_equal(levels, np.float32([0.5, 1.83, 3.17]))


def test_a_coarser_series_gives_its_latest_value():
    series = SplSeries(np.array([0.0, 60.0, 120.0]), np.array([50.0, 60.0, 70.0]))
    np.testing.assert_array_equal(series.levels(np.array([30.0, 59.0, 60.1, 130.0]), 0.5), [50, 50, 60, 70])


def test_there_is_no_level_in_a_gap():
    series = SplSeries(np.array([0.0, 1.0, 2.0, 100.0, 101.0]), np.full(5, 50.0))
    assert np.isnan(series.levels(np.array([-5.0, 50.0, 200.0]), 0.5)).all()
    assert np.isfinite(series.levels(np.array([2.2, 100.2]), 0.5)).all()


@pytest.mark.parametrize(
    "times", [[0, 1, 2], ["1970-01-01T00:00:00", "1970-01-01T00:00:01Z", "1970-01-01T01:00:02+01:00"]]
)
def test_a_csv_may_have_unix_seconds_or_iso_times(tmp_path, times):
    pd.DataFrame({"timestamp": times, "spl": [50, 60, 70]}).to_csv(tmp_path / "s.csv", index=False)
    series = read_series(find_series(tmp_path, "s"))
    np.testing.assert_array_equal(series.timestamp, [0, 1, 2])
    np.testing.assert_array_equal(series.level, [50, 60, 70])


@pytest.mark.parametrize("compound", [False, True])
def test_the_authors_index_is_read_as_datasets_or_as_fields(tmp_path, compound):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        if compound:
            file["index"] = np.array([(0.0, 50.0), (1.0, 60.0)], [("spl_timestamp", "f8"), ("spl_vector", "f4")])
        else:
            file["spl_timestamp"], file["spl_vector"] = [0.0, 1.0], [50.0, 60.0]
    np.testing.assert_array_equal(read_series(tmp_path / "s.h5").level, [50, 60])


def test_jumping_clocks_repeated_times_and_missing_values_are_repaired_with_warnings(tmp_path, caplog):
    table = pd.DataFrame({"timestamp": [10, 11, 3, 11, 12, 13], "spl": [50, 60, 40, 99, "n/a", 70]})
    table.to_csv(tmp_path / "s.csv", index=False)
    series = read_series(tmp_path / "s.csv")
    np.testing.assert_array_equal(series.timestamp, [3, 10, 11, 13])
    np.testing.assert_array_equal(series.level, [40, 50, 60, 70])
    for message in ("jumps back 1 times", "1 values repeat a time", "1 values are not numbers"):
        assert message in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("time,level\n1,2\n", "lacks the columns timestamp, spl"),
        ("timestamp,spl\n", "holds no level"),
        ("", "cannot be read as a CSV table"),
    ],
)
def test_invalid_and_missing_series_are_refused_by_name(tmp_path, content, message):
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_series(tmp_path / "s.csv")
    with pytest.raises(InputError, match=r"no levels of other: neither other\.csv"):
        find_series(tmp_path, "other")
