"""The ledger: nothing that was submitted is forgotten, whenever its writer dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import InputError
from jobs.slurm.ledger import Ledger


def _intend(ledger, task="03-train", dependencies=("7",)):
    return ledger.intend(task, "hash", dependencies, 1, Path("log"))


def test_a_submission_is_read_back_as_it_was_written(tmp_path):
    ledger = Ledger(tmp_path)
    submission = ledger.record(_intend(ledger), "12")
    assert Ledger(tmp_path).latest() == {"03-train": submission}
    assert submission.job_id == "12"


def test_the_last_submission_of_a_task_counts(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.record(_intend(ledger), "12")
    again = _intend(ledger)
    assert ledger.latest()["03-train"] == again
    assert again.job_id is None


def test_an_answer_that_nobody_heard_is_known_to_be_missing(tmp_path):
    ledger = Ledger(tmp_path)
    first = _intend(ledger)
    _intend(ledger, "04-export")
    ledger.record(first, "12")
    assert {task: each.job_id for task, each in ledger.latest().items()} == {"03-train": "12", "04-export": None}


@pytest.mark.parametrize("torn", ['{"task": "04-ex', "\x00\x00", '{"key": "sea-'])
def test_a_torn_last_line_is_passed_over_and_not_written_on(tmp_path, torn):
    ledger = Ledger(tmp_path)
    first = ledger.record(_intend(ledger), "12")
    with open(tmp_path / "slurm" / "jobs.jsonl", "a") as file:
        file.write(torn)
    assert ledger.latest() == {"03-train": first}
    second = ledger.record(_intend(ledger, "05-embed"), "13")
    assert Ledger(tmp_path).latest() == {"03-train": first, "05-embed": second}


def test_two_launchers_do_not_submit_at_once(tmp_path):
    with Ledger(tmp_path).held(), pytest.raises(InputError, match="Another `sea`"), Ledger(tmp_path).held():
        pass
