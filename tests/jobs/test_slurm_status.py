"""The table of a run: what Slurm's words and the folders together mean."""

from __future__ import annotations

import pytest

from l3embedding.jobs.chain import build_chain
from l3embedding.jobs.experiment import Sweep
from l3embedding.jobs.journal import Journal
from l3embedding.jobs.slurm.cluster import JobRow, is_healthy
from l3embedding.jobs.slurm.ledger import Submission
from l3embedding.jobs.slurm.requeue import was_preempted
from l3embedding.jobs.slurm.status import describe, last_error
from l3embedding.settings import Experiment


@pytest.fixture
def tasks(tmp_path):
    experiment = Experiment(recordings={"root": "/audio"}, dataset={"root": "/sonyc"})
    return {task.name: task for task in build_chain(Sweep((), (experiment,)), tmp_path)}


def _rows(*states, reason="None"):
    return [JobRow("7", state, "1:00", reason, "sea-1") for state in states]


def _submission(task, num_tasks=1, log="/nowhere.log"):
    return Submission(task.name, "sea-1", "hash", (), num_tasks, log, 0.0, None, "7")


@pytest.mark.parametrize(
    ("states", "reason", "state", "said"),
    [
        (["PENDING"], "Dependency", "pending", "Dependency"),
        (["PENDING"], "Priority", "pending", "Priority"),
        (["RUNNING"], "None", "running", ""),
        (["COMPLETED", "RUNNING", "PENDING"], "None", "running", "1 of 3 tasks"),
        (["PENDING"], "DependencyNeverSatisfied", "failed", "DependencyNeverSatisfied"),
        (["FAILED"], "NonZeroExitCode", "failed", "FAILED"),
        (["COMPLETED", "FAILED", "RUNNING"], "None", "failed", "1 of 3 tasks FAILED"),
        (["CANCELLED"], "None", "cancelled", "CANCELLED"),
        (["OUT_OF_MEMORY"], "None", "failed", "OUT_OF_MEMORY"),
        (["NODE_FAIL"], "None", "failed", "NODE_FAIL"),
        (["COMPLETED"], "None", "failed", "the job ended, but its folder is not done"),
    ],
)
def test_slurms_words_become_a_state_and_a_reason(tasks, states, reason, state, said):
    task = tasks["03-train-approx-embedding"]
    line = describe(task, "to do", _submission(task, len(states)), _rows(*states, reason=reason), {})
    assert (line.state, line.reason) == (state, said)


def test_a_folder_that_is_done_is_done_whatever_slurm_says(tasks):
    task = tasks["03-train-approx-embedding"]
    task.folder.mkdir()
    (task.folder / "done.json").write_text('{"elapsed_s": 3723.4}')
    line = describe(task, "done", _submission(task), _rows("CANCELLED"), {})
    assert (line.state, line.elapsed, line.reason) == ("done", "1:02:03", "")


def test_what_waits_for_a_failed_stage_says_for_which(tasks):
    task = tasks["03-train-approx-embedding"]
    line = describe(task, "to do", _submission(task), _rows("CANCELLED"), {"02-fit-reduction": "failed"})
    assert (line.state, line.reason) == ("cancelled", "02-fit-reduction failed")


def test_the_reason_of_a_failure_is_the_error_in_the_journal(tasks, tmp_path):
    log = tmp_path / "03.log"
    log.write_text("12:00 epoch 1\nerror: of an earlier attempt\n")
    task = tasks["03-train-approx-embedding"]
    task.folder.mkdir()
    journal = Journal(task.folder)
    journal.append("started", run_id="1", stage=task.stage.name)
    journal.status("failed", error="The loss diverged.")
    line = describe(task, "failed", _submission(task, log=str(log)), _rows("FAILED"), {})
    assert line.reason == "FAILED; The loss diverged."
    assert line.log == str(log)


def test_an_innocent_log_line_is_not_the_reason_of_a_job_that_was_killed(tasks, tmp_path):
    log = tmp_path / "03.log"
    log.write_text("12:00 error: none so far\n12:01 epoch 1 of 3\n")
    task = tasks["03-train-approx-embedding"]
    task.folder.mkdir()
    Journal(task.folder).append("started", run_id="1", stage=task.stage.name)
    line = describe(task, "interrupted", _submission(task, log=str(log)), _rows("FAILED"), {})
    assert line.reason == "FAILED; killed before it could report an error"


def test_a_job_that_ended_before_its_journal_was_opened_is_looked_up_in_its_log(tmp_path):
    log = tmp_path / "03.log"
    log.write_text("error: AUDIO_DIR is not set.\n")
    assert last_error(tmp_path, [log], 0.0) == "error: AUDIO_DIR is not set."
    log.write_text("12:00 nothing to report\nslurmstepd: error: Exceeded memory limit\n")
    assert last_error(tmp_path, [log], 0.0) == "slurmstepd: error: Exceeded memory limit"


def test_an_error_of_an_earlier_attempt_is_not_the_reason(tmp_path):
    Journal(tmp_path).append("started", run_id="1", stage="03-train-approx-embedding")
    Journal(tmp_path).status("failed", error="The loss diverged.")
    assert last_error(tmp_path, [], since=4e9) == ""


def test_a_job_that_slurm_forgot_and_that_is_not_done_has_failed(tasks):
    task = tasks["03-train-approx-embedding"]
    line = describe(task, "interrupted", _submission(task), [], {})
    assert (line.state, line.reason) == ("failed", "Slurm no longer knows the job")


def test_progress_of_an_array_counts_what_is_finished_on_disk(tasks):
    task = tasks["00-extract-teacher-embeddings"]
    (task.folder / "parts").mkdir(parents=True)
    (task.folder / "parts" / "0001-of-0003.json").write_text("{}")
    line = describe(task, "running", _submission(task, 3), _rows("RUNNING"), {})
    assert line.progress == "1/3"


@pytest.mark.parametrize(
    ("states", "healthy"),
    [
        (["RUNNING"], True),
        (["COMPLETED", "PENDING"], True),
        (["FAILED", "RUNNING"], False),
        (["COMPLETED"], False),
        (["CANCELLED", "PENDING"], False),
    ],
)
def test_a_job_is_kept_only_if_it_can_still_end_well(states, healthy):
    assert is_healthy(_rows(*states)) is healthy


def test_preemption_is_told_from_a_time_limit():
    assert was_preempted("EndTime=x\n   PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime=2026-01-01T00:01:00\n")
    assert not was_preempted("PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime=None\n")
    assert not was_preempted("JobState=RUNNING")
