"""The journal: what survives a kill, and which run several journals describe."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3embedding.jobs.journal import Journal, find_runs, merge, read_events, read_run, summarize

START = {
    "run_id": "abc",
    "stage": "03-train-approx-embedding",
    "parameters": {"student": {"dim": 64}, "seed": 0},
    "job_id": "7",
}


def _begin(folder, **facts):
    journal = Journal(folder)
    journal.append("started", **START | facts)
    return journal


def test_a_run_is_read_from_its_journal(tmp_path):
    journal = _begin(tmp_path)
    journal.append("noted", embedding_key="pca")
    for epoch in (1, 2):
        journal.append("epoch", epoch=epoch, valid_loss=1 / epoch)
    run = read_run(tmp_path)
    assert (run.run_id, run.status, run.stage) == ("abc", "running", "03-train-approx-embedding")
    assert run.facts["embedding_key"] == "pca"
    assert run.parameters == {"student.dim": 64, "seed": 0}
    assert [epoch["valid_loss"] for epoch in run.epochs] == [1.0, 0.5]
    journal.status("finished", results={"size_mb": 1.6})
    assert read_run(tmp_path).status == "finished"
    assert read_run(tmp_path).results == {"size_mb": 1.6}


def test_a_second_attempt_is_the_same_run_and_its_epochs_count(tmp_path):
    journal = _begin(tmp_path)
    journal.append("epoch", epoch=1, valid_loss=3.0)
    journal.append("epoch", epoch=2, valid_loss=9.0)
    journal.status("requeued")
    assert read_run(tmp_path).status == "requeued"
    journal = _begin(tmp_path, job_id="8")
    journal.append("epoch", epoch=2, valid_loss=2.0)
    run = read_run(tmp_path)
    assert (run.status, run.facts["job_id"]) == ("running", "8")
    assert [epoch["valid_loss"] for epoch in run.epochs] == [3.0, 2.0]


@pytest.mark.parametrize("torn", [b'{"time": "2026", "ev', b"\xff\xfe", b'"text"', b"[]", b"{}", b'{"time": 1}\n{"t'])
def test_an_incomplete_last_line_costs_that_line_alone(tmp_path, torn):
    journal = _begin(tmp_path)
    journal.append("epoch", epoch=1, valid_loss=3.0)
    with open(journal.path, "ab") as file:
        file.write(torn)
    assert len(read_run(tmp_path).epochs) == 1
    Journal(tmp_path).append("epoch", epoch=2, valid_loss=2.0)
    assert len(read_run(tmp_path).epochs) == 2


def test_numbers_that_json_cannot_hold_are_written_as_text(tmp_path):
    journal = _begin(tmp_path)
    journal.append("epoch", epoch=1, a=float("nan"), b=float("inf"), c=np.float32(0.5), d=[-np.inf], e=tmp_path)
    (line,) = [json.loads(line, parse_constant=pytest.fail) for line in journal.path.read_text().splitlines()[1:]]
    assert (line["a"], line["b"], line["c"], line["d"], line["e"]) == (
        "NaN",
        "Infinity",
        0.5,
        ["-Infinity"],
        str(tmp_path),
    )


def test_a_journal_that_cannot_be_written_does_not_stop_the_run(tmp_path, caplog):
    Journal(tmp_path / "nowhere").append("epoch", epoch=1)
    assert "cannot be written" in caplog.text


def _write_for_ever(folder, ready):
    journal = _begin(folder)
    for epoch in range(1, 100_000):
        journal.append("epoch", epoch=epoch, valid_loss=0.5, text="x" * 2000)
        ready.set()


def test_what_was_written_before_a_kill_is_there_after_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writer = context.Process(target=_write_for_ever, args=(tmp_path, ready))
    writer.start()
    assert ready.wait(30)
    time.sleep(0.2)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    epochs = [epoch["epoch"] for epoch in read_run(tmp_path).epochs]
    assert epochs == list(range(1, len(epochs) + 1))
    assert epochs


def test_several_tasks_of_one_run_make_one_record(tmp_path):
    for task in (0, 1):
        Journal(tmp_path, task).append("started", **START)
    Journal(tmp_path, 0).status("finished")
    assert read_run(tmp_path).status == "running"
    Journal(tmp_path, 1).status("failed", error="no such clip")
    assert (read_run(tmp_path).status, read_run(tmp_path).error) == ("failed", "no such clip")
    Journal(tmp_path, 1).append("started", **START)
    Journal(tmp_path, 1).status("finished")
    Journal(tmp_path, 1).status("finished", results={"clips": 2})
    assert (read_run(tmp_path).status, read_run(tmp_path).results) == ("finished", {"clips": 2})
    assert len(find_runs(tmp_path)) == 1


def test_runs_are_found_below_a_folder_except_those_set_aside(tmp_path):
    for name in ("03/a", "03/b", "03/b.old-20260101"):
        (tmp_path / name).mkdir(parents=True)
        Journal(tmp_path / name).append("started", **START | {"run_id": name})
    assert [run.run_id for run in find_runs(tmp_path)] == ["03/a", "03/b"]


EVENTS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "time": st.sampled_from(["1", "2", "3", "4"]),
                "event": st.just("started"),
                "run_id": st.just("abc"),
                "stage": st.just("03"),
                "job_id": st.sampled_from(["7", "8"]),
            }
        ),
        st.fixed_dictionaries(
            {
                "time": st.sampled_from(["2", "3", "4", "5"]),
                "event": st.just("epoch"),
                "epoch": st.integers(1, 4),
                "valid_loss": st.floats(0, 1),
            }
        ),
        st.fixed_dictionaries(
            {
                "time": st.sampled_from(["3", "5", "6"]),
                "event": st.just("status"),
                "status": st.sampled_from(["finished", "requeued", "failed", "stopped"]),
            }
        ),
    ),
    max_size=8,
)


@given(one=EVENTS, other=EVENTS, third=EVENTS)
def test_merging_depends_on_neither_order_nor_repetition(one, other, third):
    merged = merge(one, other, third)
    assert merge(third, other, one) == merged
    assert merge(merged, merged) == merged
    assert merge(merge(one, other), third) == merge(one, merge(other, third))
    assert {json.dumps(each, sort_keys=True) for each in merged} == {
        json.dumps(each, sort_keys=True) for each in [*one, *other, *third]
    }


@given(events=EVENTS, data=st.data())
def test_a_run_depends_on_its_events_alone(events, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    whole = summarize(folder, merge(events))
    cut = data.draw(st.integers(0, len(events)))
    assert summarize(folder, merge(events[cut:], events[:cut], events)) == whole
    assert (whole is None) == all(event["event"] != "started" for event in events)


def test_reading_a_missing_journal_is_no_error(tmp_path):
    assert list(read_events(tmp_path / "journal.jsonl")) == []
    assert read_run(tmp_path) is None
