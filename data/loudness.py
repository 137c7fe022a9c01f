"""A-weighted levels of frames, and their relevance: how loud a frame is for its sensor at that time of day.

Without a calibrated sound level meter, levels are relative to full scale. That suffices for relevance, which ranks a
frame among its neighbours in time. Times are Unix seconds; that of an undated recording is NaN.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.stats import rankdata

from l3embedding.data.audio import frame_audio
from l3embedding.utils.errors import InputError

BLOCK_S = 0.125
"""Fast time weighting of a sound level meter, s; the interval of SONYC's level series."""

WINDOW_HOURS = 2
"""Frames are ranked among those of the same sensor, date and 2-hour window."""

_FLOOR_DB = -120.0


def a_weighting(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain of the A-weighting curve at frequencies in Hz, as an amplitude ratio; 1 at 1 kHz.

    References
    ----------
    IEC 61672-1:2013, annex E.
    """
    square = np.square(frequency)
    gain = (12194.0**2 * square**2) / (
        (square + 20.6**2) * np.sqrt((square + 107.7**2) * (square + 737.9**2)) * (square + 12194.0**2)
    )
    return gain * 10 ** (2.0 / 20)


def frame_levels(
    audio: NDArray[np.float32], sample_rate: int, frame_length: int, hop_length: int
) -> NDArray[np.float32]:
    """Measure the A-weighted level of each frame of a recording, as `frame_audio` cuts it without centring or padding.

    The recording is weighted as a whole, and its mean square computed in blocks of 1/8 s. A frame's level is the
    mean of the dB values of its blocks, rounded to 0.01 dB as the authors' levels are.

    Returns
    -------
    float32 `[n_frames]`, dB(A) relative to a full-scale square wave, at least -120.
    """
    size = next_fast_len(len(audio), real=True)
    spectrum = rfft(audio, size) * _gains(size, sample_rate)
    power = np.square(irfft(spectrum, size)[: len(audio)])
    block = round(BLOCK_S * sample_rate)
    levels = [
        _decibel(frame[: len(frame) // block * block].reshape(-1, block).mean(axis=1)).mean()
        for frame in frame_audio(power, frame_length, hop_length, pad_end=False)
    ]
    return np.round(np.asarray(levels), 2).astype(np.float32)


@lru_cache(maxsize=8)  # recordings tend to be equally long, and the gains take longer than the transform
def _gains(size: int, sample_rate: int) -> NDArray[np.float32]:
    return a_weighting(rfftfreq(size, 1 / sample_rate)).astype(np.float32)


def calibrate(levels: NDArray[np.float32], spl: float) -> NDArray[np.float32]:
    """Shift relative levels `[n_frames]` so that their energy mean is the measured `spl`, dBA."""
    equivalent = _decibel(np.mean(10.0 ** (levels.astype(np.float64) / 10), keepdims=True))
    return np.round(levels + (spl - equivalent), 2).astype(np.float32)


def local_time(timestamps: NDArray[np.float64], time_zone: str) -> pd.DatetimeIndex:
    """Convert Unix seconds, float64 `[n]`, to the time of an IANA zone such as `America/New_York`; NaN becomes NaT."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise InputError(f"Time zone {time_zone!r} is not known; give an IANA name such as America/New_York.") from None
    # Whole seconds suffice for calendars, and avoid the conversion of NaN to integer nanoseconds.
    return pd.to_datetime(np.floor(timestamps), unit="s", utc=True).tz_convert(zone)


def relevance(
    levels: NDArray[np.float32], timestamps: NDArray[np.float64], time_zone: str = "UTC"
) -> NDArray[np.float32]:
    """Rank the level of each frame of a sensor, in dB, among those in the same local 2-hour window.

    Windows begin at even hours of local time. Undated frames, whose timestamp is NaN, form a window of their own.

    Returns
    -------
    float32 `[n]` in (0, 1]: the `min` rank divided by the number of frames in the window.
    """
    local = local_time(timestamps, time_zone)
    # Dates, where the authors have (week, weekday); -1 collects undated frames.
    window = np.where(
        local.isna(), -1, (local.year * 366 + local.day_of_year) * 24 // WINDOW_HOURS + local.hour // WINDOW_HOURS
    )
    order = np.argsort(window, kind="stable")
    result = np.empty(len(levels), np.float32)
    for members in np.split(order, np.flatnonzero(np.diff(window[order])) + 1):
        result[members] = rankdata(levels[members], method="min") / len(members)
    return result


def _decibel(power: NDArray[Any]) -> NDArray[Any]:
    return 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))
