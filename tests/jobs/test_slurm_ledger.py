"""The ledger: nothing that was submitted is forgotten, whenever its writer dies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l3embedding.jobs.slurm.cluster import JobRow
from l3embedding.jobs.slurm.ledger import Ledger, Submission
from l3embedding.utils.errors import InputError


def _intend(ledger, task="03-train", key="sea-1", index=None):
    submission = Submission(task, key, "hash", ("7",), 1, "log", 0.0, index)
    ledger.intend([submission])
    return submission


def _record(ledger, submission, job_id):
    ledger.record(submission.key, job_id)
    return replace(submission, job_id=job_id)


def test_a_submission_is_read_back_as_it_was_written(tmp_path):
    ledger = Ledger(tmp_path)
    submission = _record(ledger, _intend(ledger), "12")
    assert Ledger(tmp_path).latest() == {"03-train": submission}
    assert submission.job_id == "12"


def test_the_last_submission_of_a_task_counts(tmp_path):
    ledger = Ledger(tmp_path)
    _record(ledger, _intend(ledger), "12")
    again = _intend(ledger, key="sea-2")
    assert ledger.latest()["03-train"] == again
    assert again.job_id is None


def test_an_answer_that_nobody_heard_is_known_to_be_missing(tmp_path):
    ledger = Ledger(tmp_path)
    first = _intend(ledger)
    _intend(ledger, "04-export", "sea-2")
    ledger.record(first.key, "12")
    assert {task: each.job_id for task, each in ledger.latest().items()} == {"03-train": "12", "04-export": None}


@pytest.mark.parametrize("torn", ['{"task": "04-ex', "\x00\x00", '{"key": "sea-'])
def test_a_torn_last_line_is_passed_over_and_not_written_on(tmp_path, torn):
    ledger = Ledger(tmp_path)
    first = _record(ledger, _intend(ledger), "12")
    with open(tmp_path / "slurm" / "jobs.jsonl", "a") as file:
        file.write(torn)
    assert ledger.latest() == {"03-train": first}
    second = _record(ledger, _intend(ledger, "05-embed", "sea-2"), "13")
    assert Ledger(tmp_path).latest() == {"03-train": first, "05-embed": second}


def test_two_launchers_do_not_submit_at_once(tmp_path):
    with Ledger(tmp_path).held(), pytest.raises(InputError, match="Another `sea`"), Ledger(tmp_path).held():
        pass


def test_the_tasks_of_an_array_share_its_job_and_are_told_apart_by_their_index(tmp_path):
    ledger = Ledger(tmp_path)
    tasks = [Submission(f"06,seed={seed}", "sea-1", "hash", (), 1, "log", 0.0, seed) for seed in (0, 3)]
    ledger.intend(tasks)
    ledger.record("sea-1", "12")
    found = Ledger(tmp_path).latest()
    assert [found[each.task].slurm_id for each in tasks] == ["12_0", "12_3"]
    rows = {"sea-1": [JobRow("12", state, "", "", "sea-1", index) for index, state in ((0, "FAILED"), (3, "RUNNING"))]}
    assert [row.state for row in found["06,seed=3"].rows_in(rows)] == ["RUNNING"]
    # One seed of it again, by itself.
    ledger.intend([replace(tasks[0], key="sea-2", index=None)])
    ledger.record("sea-2", "20")
    assert [found.slurm_id for found in ledger.latest().values()] == ["20", "12_3"]
