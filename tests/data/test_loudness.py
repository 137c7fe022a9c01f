"""Levels and relevance."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3embedding.data.loudness import a_weighting, calibrate, frame_levels, relevance
from l3embedding.utils.errors import InputError

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("frequency", "decibel"), [(31.62, -39.4), (125.9, -16.1), (501.2, -3.2), (1000, 0.0), (1995, 1.2), (7943, -1.1)]
)
def test_a_weighting_agrees_with_the_standard(frequency, decibel):
    # The standard's table is of exact third-octave frequencies, in steps of 0.1 dB.
    assert 20 * np.log10(a_weighting(np.array([frequency]))[0]) == pytest.approx(decibel, abs=0.06)


def test_the_level_of_a_tone_is_its_weighted_power():
    rate = 16000
    time = np.arange(4 * rate) / rate
    for frequency, gain in ((1000, 0.0), (125, -16.1)):
        tone = (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)
        levels = frame_levels(tone, rate, rate, rate // 2)
        assert len(levels) == 7
        np.testing.assert_allclose(levels[1:-1], 10 * np.log10(0.125) + gain, atol=0.1)


def test_silence_has_the_lowest_level_and_no_warning():
    assert frame_levels(np.zeros(16000, np.float32), 16000, 16000, 8000).tolist() == [-120.0]


def test_calibration_sets_the_equivalent_level():
    levels = calibrate(np.array([-30.0, -20.0], np.float32), 70.0)
    assert 10 * np.log10(np.mean(10 ** (levels.astype(float) / 10))) == pytest.approx(70.0, abs=0.01)
    assert levels[1] - levels[0] == pytest.approx(10.0)


def _at(*when: int) -> float:
    return datetime(*when, tzinfo=NEW_YORK).timestamp()


def test_relevance_ranks_within_the_local_two_hour_window():
    times = np.array([_at(2019, 3, 12, 8, 0), _at(2019, 3, 12, 9, 59), _at(2019, 3, 12, 10, 0), _at(2019, 3, 19, 8, 0)])
    ranks = relevance(np.array([50, 60, 10, 5], np.float32), times, "America/New_York")
    np.testing.assert_allclose(ranks, [0.5, 1.0, 1.0, 1.0])


def test_windows_follow_the_wall_clock_through_daylight_saving():
    # On 10 March 2019 clocks went from 2 to 3 in the night; 1:30 and 3:30 are an hour apart, and in two windows.
    times = np.array([_at(2019, 3, 10, 1, 30), _at(2019, 3, 10, 3, 30)])
    assert times[1] - times[0] == 3600
    np.testing.assert_allclose(relevance(np.array([1, 2], np.float32), times, "America/New_York"), [1.0, 1.0])


def test_ties_share_the_lowest_rank_and_undated_frames_a_window():
    ranks = relevance(np.array([3, 3, 4, 1], np.float32), np.full(4, np.nan))
    np.testing.assert_allclose(ranks, [0.5, 0.5, 1.0, 0.25])


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 400_000)), min_size=1, max_size=60))
def test_relevance_lies_in_the_half_open_unit_interval(frames):
    levels, times = np.array(frames, float).T
    ranks = relevance(levels.astype(np.float32), times)
    assert ((ranks > 0) & (ranks <= 1)).all()


def test_an_unknown_time_zone_is_refused_by_name():
    with pytest.raises(InputError, match="Mars/Olympus"):
        relevance(np.zeros(1, np.float32), np.zeros(1), "Mars/Olympus")
