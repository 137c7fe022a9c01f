"""Progress in a job's log."""

from __future__ import annotations

import logging
import re

import pytest

from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)


def _lines(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_log_has_plain_lines_with_rate_and_time_left(caplog, monkeypatch):
    monkeypatch.setattr("l3embedding.utils.progress.LOG_INTERVAL_S", 0.0)
    with caplog.at_level(logging.INFO), progress("embedding", 40, "frames", logger, done=10) as bar:
        bar.update(20)
    middle, last = _lines(caplog)
    assert re.fullmatch(r"embedding: 30 of 40 frames, +[\d.]+ frames/s, 00:00 left", middle)
    assert re.fullmatch(r"embedding: 30 frames in 00:00", last)


def test_short_work_logs_its_total_alone(caplog):
    with caplog.at_level(logging.INFO), progress("reading", 0, "clips", logger) as bar:
        for _ in range(100):
            bar.update(1)
    assert _lines(caplog) == ["reading: 100 clips in 00:00"]


def test_interrupted_work_logs_no_total(caplog):
    with caplog.at_level(logging.INFO), pytest.raises(RuntimeError), progress("reading", 9, "clips", logger) as bar:
        bar.update(3)
        raise RuntimeError
    assert _lines(caplog) == []
