"""A sweep over paths and data sets runs every combination, and its report pools seeds only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.scripts.conftest import sea

RATE = 8000
EXPERIMENT = """
recordings: {root: [ROOT/quay, ROOT/mole], per_shard: 2}
teacher: {stand_in: true}
sample: {method: random, size: 20}
student: {dim: 8, filters: [2, 2, 4, 8]}
dataset: {name: [esc50, dcase2013], root: "ROOT/${dataset.name}", hop_size: 1}
representations: [teacher, reduced]
seeds: [0, 1, 2]
"""


def _write(path, rng, seconds, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.convolve(rng.normal(0, 0.1, round(seconds * RATE)), np.ones(color) / color, "same")
    soundfile.write(path, noise, RATE)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("sweep"), np.random.default_rng(0)
    for name, color in (("quay", 1), ("mole", 8)):
        for index in range(4):
            _write(root / name / "sensor" / f"{index}.wav", rng, 5, color)
    table = [
        {"filename": f"{kind}{index}.wav", "fold": index % 2 + 1, "target": color, "category": kind}
        for kind, color in (("hiss", 1), ("rumble", 8))
        for index in range(6)
    ]
    for row in table:
        _write(root / "esc50" / "audio" / row["filename"], rng, 1, row["target"])
    (root / "esc50" / "meta").mkdir()
    pd.DataFrame(table).to_csv(root / "esc50" / "meta" / "esc50.csv", index=False)
    for kind, color in (("bus", 1), ("park", 8)):
        for index in range(1, 11):
            _write(root / "dcase2013" / "scenes_stereo" / f"{kind}{index:02}.wav", rng, 1, color)
    (root / "sweep.yaml").write_text(EXPERIMENT.replace("ROOT", str(root)))
    ended = sea("run", root / "sweep.yaml", "--output-dir", root / "run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return root, pd.read_csv(root / "run" / "07-report" / "results.csv")


def test_every_combination_of_paths_and_data_sets_runs(swept):
    root, _ = swept
    names = {path.name for path in (root / "run" / "00-extract-teacher-embeddings").iterdir()}
    assert len(names) == 2 and any("quay" in name for name in names) and any("mole" in name for name in names)
    assert len(list((root / "run" / "06-train-classifier").iterdir())) == 6 * 3


def test_the_table_of_results_has_a_row_per_run_and_metric_with_every_parameter(swept):
    root, results = swept
    accuracy = results[results["metric"] == "accuracy"]
    assert len(accuracy) == 6 * 3
    reduced = accuracy[accuracy["representation"] == "reduced"]
    assert set(reduced["recordings.root"]) == {str(root / "quay"), str(root / "mole")}
    assert set(reduced["student.dim"]) == {8}
    assert accuracy.groupby(["dataset", "representation"]).size().to_dict() == {
        ("dcase2013", "reduced"): 6,
        ("dcase2013", "teacher"): 3,
        ("esc50", "reduced"): 6,
        ("esc50", "teacher"): 3,
    }


def test_the_report_has_six_rows_of_three_seeds_and_never_mixes_data_sets(swept):
    root, _ = swept
    text = (root / "run" / "07-report" / "tables.md").read_text()
    tables = {part.splitlines()[0]: part for part in text.split("\n## ") if part.startswith("Accuracy by fold")}
    assert len(tables) == 2
    for table in tables.values():
        rows = [line for line in table.splitlines() if "(n = 3)" in line]
        assert len(rows) == 3, table
        assert len({line.split("|")[1] for line in rows}) == 3
