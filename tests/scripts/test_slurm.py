"""The chain on a real Slurm cluster of two nodes: undisturbed, killed, timed out, refused, by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.conftest import REPOSITORY
from tests.scripts.conftest import TINY, figures, sea
from tests.support.slurm_cluster import SlurmCluster

UPSTREAM = REPOSITORY / "jobs" / "emb_approx_mse" / "upstream"
DOWNSTREAM = REPOSITORY / "jobs" / "emb_approx_mse" / "downstream" / "sonyc_ust"
SLOW = tuple(f"distillation.{name}=80" for name in ("epochs", "patience", "plateau_patience", "checkpoint_interval"))
"""Training that lasts a quarter of a minute, so that it can be disturbed."""


def _wait(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)


def _submit(cluster: SlurmCluster, folder: Path, *arguments: object) -> None:
    ended = sea("run", TINY, "--executor", "slurm", "--output-dir", folder, *arguments, env=cluster.environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _states(cluster: SlurmCluster, *options: str) -> list[str]:
    return cluster.run("squeue", "--states=all", "--array", "--noheader", "--format=%T", *options).split()


def _status(cluster: SlurmCluster, folder: Path) -> str:
    return sea("status", "--output-dir", folder, env=cluster.environment).stdout


def _of(status: str, task: str) -> str:
    return next(line for line in status.splitlines() if line.startswith(task))


def _job_of(folder: Path, task: str) -> str:
    """Id of the last job that the ledger has of a task."""
    entries = [json.loads(line) for line in (folder / "slurm" / "jobs.jsonl").read_text().splitlines()]
    key = [entry["key"] for entry in entries if entry.get("task") == task][-1]
    return next(entry["job_id"] for entry in entries if entry["key"] == key and "job_id" in entry)


@pytest.fixture
def reduced(undisturbed, tmp_path) -> Path:
    """A run in which all is done until the reduction; training comes next."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed[0], folder)
    for stage in folder.iterdir():
        if stage.name[:2] in ("03", "04", "05", "06", "07"):
            shutil.rmtree(stage)
    return folder


def _train(cluster: SlurmCluster, folder: Path, *settings: str) -> str:
    """Submit slow training; returns the id of its job once it has trained for a while."""
    words = [word for setting in (*SLOW, *settings) for word in ("--set", setting)]
    _submit(cluster, folder, "--from", "3", "--until", "3", *words)
    history = folder / "03-train-approx-embedding" / "history.csv"
    _wait(lambda: history.is_file() and len(pd.read_csv(history)) > 10, "training")
    return _job_of(folder, "03-train-approx-embedding")


@pytest.fixture(scope="module")
def whole_history(undisturbed, tmp_path_factory) -> pd.DataFrame:
    """The history of slow training that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(undisturbed[0], folder)
    words = [word for setting in SLOW for word in ("--set", setting)]
    ended = sea("run", TINY, "--output-dir", folder, "--from", "3", "--until", "3", *words)
    assert ended.returncode == 0, ended.stderr
    return pd.read_csv(folder / "03-train-approx-embedding" / "history.csv")


def _assert_same_training(folder: Path, whole: pd.DataFrame) -> None:
    results = ["epoch", "train_loss", "valid_loss", "valid_mae", "learning_rate"]
    ours = pd.read_csv(folder / "03-train-approx-embedding" / "history.csv")
    pd.testing.assert_frame_equal(ours[results], whole[results], check_exact=True)


def test_the_chain_ends_with_the_tables_of_a_local_run(cluster, undisturbed, tmp_path):
    folder = tmp_path / "run"
    _submit(cluster, folder, "--set", "slurm.array_throttle=2")
    throttle = cluster.run("scontrol", "show", "job", _job_of(folder, "00-extract-teacher-embeddings"))
    assert "ArrayTaskThrottle=2" in throttle
    running = []

    def ended() -> bool:
        clips = "05-generate-embedding-samples teacher"
        running.append(cluster.run("squeue", "-h", "-t", "running", "-j", _job_of(folder, clips)).count("\n"))
        return cluster.is_idle()

    _wait(ended, "the chain", 300)
    assert max(running) <= 2
    status = _status(cluster, folder)
    assert status.count(" done ") == 15, status
    assert "3/3" in _of(status, "00-extract-teacher-embeddings")
    assert figures(folder) == figures(undisturbed[0])
    assert "0 of 15 tasks to run" in sea("plan", TINY, "--output-dir", folder).stdout
    assert "micro-AUPRC" in sea("logs", "06-train-classifier student", "--output-dir", folder).stdout


def test_a_failing_stage_cancels_what_depends_on_it_and_status_says_why(cluster, tmp_path):
    folder = tmp_path / "run"
    _submit(cluster, folder, "--set", "sample.size=3", "--until", "3")
    cluster.wait_until_idle()
    status = _status(cluster, folder)
    assert "failed" in _of(status, "02-fit-reduction")
    assert "PCA to 8 dimensions needs more than 8 embeddings" in _of(status, "02-fit-reduction")
    assert "cancelled" in _of(status, "03-train-approx-embedding")
    assert "02-fit-reduction failed" in _of(status, "03-train-approx-embedding")
    # Mended and run again, it goes on from what is done.
    said = sea("run", TINY, "--executor", "slurm", "--output-dir", folder, "--until", "2", env=cluster.environment)
    assert "2 of 4 tasks are queued" in said.stdout, said.stdout + said.stderr
    cluster.wait_until_idle()
    assert "done" in _of(_status(cluster, folder), "02-fit-reduction")


def test_a_job_that_is_warned_saves_requeues_itself_and_ends_bit_for_bit_the_same(cluster, reduced, whole_history):
    job = _train(cluster, reduced)
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    log = reduced / "logs" / "03-train-approx-embedding.log"
    _wait(lambda: "is queued again" in log.read_text(), "the requeue")
    assert "stopped in epoch" in log.read_text()
    cluster.wait_until_idle(240)
    assert "Restarts=1" in cluster.run("scontrol", "show", "job", job)
    assert "resuming after epoch" in log.read_text()
    assert len(list((reduced / "03-train-approx-embedding" / "timeouts").glob("*.json"))) == 1
    _assert_same_training(reduced, whole_history)


def test_a_job_that_runs_into_its_time_limit_too_often_is_not_requeued(cluster, reduced):
    job = _train(cluster, reduced, "slurm.max_timeouts=0")
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    cluster.wait_until_idle()
    assert _states(cluster, "--jobs", job) == ["FAILED"]
    assert "is not requeued; give it more time" in _of(_status(cluster, reduced), "03-train-approx-embedding")


def test_the_time_limit_itself_warns_the_program(cluster, reduced):
    # Slurm looks at time limits every 30 s.
    job = _train(cluster, reduced, "distillation.epochs=1500")
    cluster.run("scontrol", "update", f"jobid={job}", "EndTime=now+20")
    log = reduced / "logs" / "03-train-approx-embedding.log"
    _wait(lambda: "asked to stop by SIGUSR1" in log.read_text(), "the warning")
    _wait(lambda: "Restarts=1" in cluster.run("scontrol", "show", "job", job), "the requeue")
    sea("cancel", "--output-dir", reduced, env=cluster.environment)
    cluster.wait_until_idle()
    assert "cancelled" in _of(_status(cluster, reduced), "03-train-approx-embedding")


def test_preemption_requeues_without_counting(cluster, reduced, whole_history):
    _train(cluster, reduced, "slurm.max_timeouts=0")
    urgent = cluster.run("sbatch", "--parsable", "-p", "urgent", "-N2", "-n4", "-o/dev/null", "--wrap=sleep 5").strip()
    log = reduced / "logs" / "03-train-approx-embedding.log"
    _wait(lambda: "asked to stop" in log.read_text(), "the preemption")
    cluster.wait_until_idle(240)
    assert _states(cluster, "--jobs", urgent) == ["COMPLETED"]
    _assert_same_training(reduced, whole_history)


def test_a_node_that_dies_costs_time_and_nothing_else(cluster, reduced, whole_history):
    job = _train(cluster, reduced)
    node = cluster.run("squeue", "-h", "-j", job, "-o", "%N").strip()
    cluster.kill_node(node)
    time.sleep(1)
    cluster.start_node(node)
    log = reduced / "logs" / "03-train-approx-embedding.log"
    _wait(lambda: "resuming after epoch" in log.read_text(), "the requeued job", 180)
    cluster.wait_until_idle(240)
    _assert_same_training(reduced, whole_history)


def test_training_shares_its_batches_among_the_tasks_of_its_allocation(cluster, reduced):
    two_nodes = "slurm.sbatch=['03: --nodes=2 --ntasks=2 --cpus-per-task=1']"
    _submit(cluster, reduced, "--from", "3", "--until", "3", "--set", two_nodes)
    cluster.wait_until_idle()
    log = (reduced / "logs" / "03-train-approx-embedding.log").read_text()
    assert "done" in _of(_status(cluster, reduced), "03-train-approx-embedding"), log
    assert "training on 2 devices in 2 tasks" in log
    assert "no GPU in this allocation" in log
    assert len(pd.read_csv(reduced / "03-train-approx-embedding" / "history.csv")) == 4


def _names(cluster: SlurmCluster) -> set[str]:
    """Names of the jobs that wait or run, of which no two may be alike."""
    rows = set(cluster.run("squeue", "--noheader", "--format=%A %j").splitlines())
    jobs = {row.split(maxsplit=1)[1] for row in rows}
    assert len(jobs) == len({row.split()[0] for row in rows}), rows
    return jobs


def test_a_launcher_killed_between_two_sbatch_calls_leaves_nothing_orphaned_or_doubled(cluster, tmp_path):
    """The third sbatch is a real one, whose answer the launcher does not live to hear."""
    folder, shim = tmp_path / "run", tmp_path / "bin"
    shim.mkdir()
    real = shutil.which("sbatch", path=cluster.environment["PATH"])
    (shim / "sbatch").write_text(
        "#!/usr/bin/env bash\n"
        f'if [[ "$*" == *--test-only* ]]; then exec {real} "$@"; fi\n'
        f'echo x >> "{tmp_path}/calls"\n'
        f'answer=$({real} "$@")\n'
        f'[[ $(wc -l < "{tmp_path}/calls") == 3 ]] && kill -9 $PPID\n'
        'echo "$answer"\n'
    )
    (shim / "sbatch").chmod(0o755)
    environment = cluster.environment | {"PATH": f"{shim}:{cluster.environment['PATH']}"}
    ended = sea("run", TINY, "--executor", "slurm", "--output-dir", folder, "--until", "3", env=environment)
    assert ended.returncode == -9
    first = _names(cluster)
    assert len(first) == 3
    _submit(cluster, folder, "--until", "3")
    assert sorted(_names(cluster) - first) == ["02-fit-reduction", "03-train-approx-embedding"]
    cluster.wait_until_idle()
    assert _status(cluster, folder).count(" done ") == 5


def test_a_second_launch_keeps_what_is_queued_and_replaces_what_has_changed(cluster, tmp_path):
    folder = tmp_path / "run"
    _submit(cluster, folder, "--until", "3", "--set", "street.recordings=16")
    first = {task: _job_of(folder, task) for task in ("00-extract-teacher-embeddings", "03-train-approx-embedding")}
    _submit(cluster, folder, "--until", "3", "--set", "street.recordings=16")
    assert {task: _job_of(folder, task) for task in first} == first
    _submit(cluster, folder, "--until", "3", "--set", "street.recordings=16", "--set", "distillation.epochs=3")
    assert _job_of(folder, "00-extract-teacher-embeddings") == first["00-extract-teacher-embeddings"]
    assert _job_of(folder, "03-train-approx-embedding") != first["03-train-approx-embedding"]
    assert _states(cluster, "--jobs", first["03-train-approx-embedding"]) == ["CANCELLED"]
    sea("cancel", "--output-dir", folder, env=cluster.environment)
    cluster.wait_until_idle()


@pytest.fixture
def embedded(undisturbed, tmp_path) -> Path:
    """A run in which all is done until the classifiers."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed[0], folder, ignore=shutil.ignore_patterns("06-*", "07-*"))
    return folder


SEEDS = ("--from", "6", "--set", "representations=[teacher]", "--set", "classifier.epochs=2")


def test_seeds_are_one_array_and_each_has_its_folder_its_log_and_its_line(cluster, embedded):
    _submit(cluster, embedded, *SEEDS, "--set", "seeds=[0, 3]")
    assert _names(cluster) == {"06-train-classifier teacher,seed=*", "07-report"}
    job = _job_of(embedded, "06-train-classifier teacher,seed=3")
    cluster.wait_until_idle()
    status = _status(cluster, embedded)
    for seed in (0, 3):
        line = _of(status, f"06-train-classifier teacher,seed={seed}")
        assert " done " in line and f"{job}_{seed} " in line
        assert (embedded / "06-train-classifier" / f"teacher,seed={seed}" / "done.json").is_file()
        assert "micro-AUPRC" in (embedded / "logs" / f"06-train-classifier,teacher,seed={seed}.log").read_text()
    assert " done " in _of(status, "07-report")
    assert "(n = 2)" in (embedded / "07-report" / "tables.md").read_text()


def test_of_an_array_over_seeds_only_what_is_lost_is_submitted_again(cluster, embedded):
    held = (*SEEDS, "--set", "slurm.sbatch=['06: --hold']", "--set", "seeds=[0, 1, 2]")
    tasks = [f"06-train-classifier teacher,seed={seed}" for seed in range(3)]
    _submit(cluster, embedded, *held)
    first = {task: _job_of(embedded, task) for task in (*tasks, "07-report")}
    assert len({first[task] for task in tasks}) == 1
    _submit(cluster, embedded, *held)
    assert {task: _job_of(embedded, task) for task in first} == first
    cluster.run("scancel", f"{first[tasks[0]]}_1")
    # Slurm keeps nothing of a task that was cancelled before it began.
    assert "failed" in _of(_status(cluster, embedded), tasks[1])
    assert "pending" in _of(_status(cluster, embedded), tasks[2])
    _submit(cluster, embedded, *held)
    again = {task: _job_of(embedded, task) for task in first}
    assert [again[task] == first[task] for task in (*tasks, "07-report")] == [True, False, True, False]
    waits = cluster.run("squeue", "--noheader", "--jobs", again["07-report"], "--format=%E")
    assert all(f":{job}" in waits for job in (f"{first[tasks[0]]}_0", f"{first[tasks[0]]}_2", again[tasks[1]])), waits
    # A seed that is done leaves the others where they are.
    _submit(cluster, embedded, *held, "--set", "seeds=[0, 2]")
    assert _job_of(embedded, tasks[2]) == first[tasks[2]]
    assert "cancelled" in sea("cancel", "--output-dir", embedded, env=cluster.environment).stdout
    cluster.wait_until_idle()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "slurm.sbatch=['03: --gres=gpu:9']"], "Requested node configuration is not available"),
        (["--set", "slurm.sbatch=['00: --partition=nowhere']"], "invalid partition"),
        (["--from", "3"], "which is neither done nor queued nor selected"),
        (["--set", "street=false", "--set", "recordings=/nowhere", "--set", "dataset.root=/x"], "/nowhere"),
    ],
)
def test_a_chain_that_cannot_run_is_refused_before_the_first_sbatch(cluster, tmp_path, arguments, said):
    command = ["run", TINY, "--executor", "slurm", "--output-dir", tmp_path / "run", *arguments]
    ended = sea(*command, env=cluster.environment)
    assert ended.returncode == 2
    assert said.lower() in ended.stderr.lower()
    assert cluster.is_idle()
    assert not (tmp_path / "run" / "slurm" / "jobs.jsonl").exists()


def _sbatch(cluster: SlurmCluster, job_file: Path, log: Path, **parameters: object) -> str:
    """Submit a job file as the README says: from its folder, parameters exported."""
    environment = cluster.environment | {name: str(value) for name, value in parameters.items()}
    command = ["sbatch", "--parsable", "--wait", f"--output={log}", job_file.name]
    subprocess.run(command, cwd=job_file.parent, env=environment, capture_output=True, timeout=300, check=False)
    return "\n".join(path.read_text() for path in sorted(log.parent.glob(log.name.replace("%a", "*"))))


def test_the_two_documented_jobs_run_by_hand(cluster, undisturbed, tmp_path):
    run = undisturbed[0]
    parameters = {
        "AUDIO_DIR": run / "00-extract-teacher-embeddings",
        "EMBEDDING_DIR": tmp_path / "reduced",
        "OUTPUT_DIR": tmp_path / "student",
        "NUM_EPOCHS": 1,
    }
    _reduce_to_64(run, tmp_path / "reduced")
    said = _sbatch(cluster, UPSTREAM / "03-train-approx-embedding-pca.sbatch", tmp_path / "03.log", **parameters)
    assert (tmp_path / "student" / "model_best_valid_loss.keras").is_file(), said
    parameters = {
        "L3_MODEL_PATH": tmp_path / "student" / "model_best_valid_loss.keras",
        "SONYC_UST_PATH": run / "synthesize-street" / "sonyc_ust",
        "OUTPUT_DIR": tmp_path / "embeddings",
        "SBATCH_ARRAY_INX": "0-1",
    }
    job_file = DOWNSTREAM / "05-generate-embedding-samples-pca.sbatch"
    said = _sbatch(cluster, job_file, tmp_path / "05-%a.log", **parameters)
    clips = list((tmp_path / "embeddings" / "clips").glob("*.npz"))
    assert len(clips) == 40, said
    assert np.load(clips[0])["embedding"].shape[1] == 64
    assert (tmp_path / "embeddings" / "done.json").is_file()


def _reduce_to_64(run: Path, folder: Path) -> None:
    """A lab's own folder of reduced embeddings: no stage of ours wrote it."""
    for path in (run / "00-extract-teacher-embeddings").glob("*/*.h5"):
        with h5py.File(path) as shard:
            embedding = shard["l3_embedding"][:, :64]
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / path.parent.name / path.name, "w") as reduced:
            reduced["pca_ndata=20_emb=64_kernel=linear"] = embedding


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "error: AUDIO_DIR is not set"),
        ({"AUDIO_DIR": "/nowhere/audio"}, "error: AUDIO_DIR is /nowhere/audio, which does not exist on"),
        ({"AUDIO_DIR": "/tmp", "EMBEDDING_DIR": "/tmp"}, "error: OUTPUT_DIR is not set"),
    ],
)
def test_a_missing_parameter_stops_the_job_in_its_first_second(cluster, tmp_path, parameters, said):
    job_file = UPSTREAM / "03-train-approx-embedding-pca.sbatch"
    assert said in _sbatch(cluster, job_file, tmp_path / "03.log", **parameters)
    (elapsed,) = cluster.run("squeue", "--states=all", "-h", "-S", "-i", "-o", "%M").split()[:1]
    assert elapsed in ("0:00", "0:01")
