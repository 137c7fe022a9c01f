"""The report, on made-up runs whose figures are known."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from l3embedding.report.collect import collect
from l3embedding.report.figures import all_figures
from l3embedding.report.page import write_report
from l3embedding.report.tables import all_tables, summary
from l3embedding.utils.errors import InputError

CLASSES = {"engine": 0.9, "dog": 0.5}


def _stage(folder, stage, parameters=None, inputs=None, results=None, finished=True):
    folder.mkdir(parents=True)
    record = {"stage": stage, "signature": "x", "parameters": parameters or {}, "inputs": inputs or {}}
    (folder / "config.json").write_text(json.dumps(record))
    if finished:
        record |= {"results": results or {}, "host": "node<1>", "job_id": None, "started": "", "finished": "now"}
        record |= {"elapsed_s": 12.5, "peak_memory_mb": 300.0}
        (folder / "done.json").write_text(json.dumps(record))
    return str(folder)


def _judged(root, label, model, score, dataset="sonyc_ust", seed=0, dataset_root="/data"):
    coarse = {"micro_auprc": score, "micro_f1": 0.5, "macro_auprc": 0.6, "class_auprc": CLASSES}
    results = {"coarse": coarse, "fine": None, "prior": coarse | {"micro_auprc": 0.41}}
    if dataset != "sonyc_ust":
        results = {
            "accuracy": score,
            "fold_accuracy": {"1": score, "2": score},
            "class_accuracy": CLASSES,
            "chance": 0.1,
            "classifier": "logistic",
        }
    parameters = {"dataset": dataset, "seed": seed, "fold_classifier": "logistic"}
    _stage(
        root / "06-train-classifier" / f"{label}-{seed}",
        "06-train-classifier",
        parameters,
        (model if isinstance(model, dict) else {"features": model}) | {"dataset_root": dataset_root},
        results,
    )


def _embedding(root, label, representation, inputs=None, is_stand_in=False, **parameters):
    results = {"embedding_size": 64, "size_mb": 1.5978, "activation_mb": 0.4096, "is_stand_in": is_stand_in}
    results["model_name"] = "the model"
    parameters |= {"representation": representation}
    folder = root / "05-generate-embedding-samples" / label
    return _stage(folder, "05-generate-embedding-samples", parameters, inputs, results)


def _student(root, label, **parameters):
    parameters = {"student": 64, "student_filters": None} | parameters
    sample = root / "01-sample-teacher-embeddings" / label
    sampling = {"sampling": parameters.pop("sampling", "dpp")}
    sampled = _stage(sample, "01-sample-teacher-embeddings", sampling, {}, {"n_sampled": 9})
    phi = root / "02-fit-reduction" / label
    results = {"explained_variance_ratios": [0.5, 0.25], "embedding_key": "pca_x"}
    reduced = _stage(phi, "02-fit-reduction", {}, {"sample_dir": sampled}, results)
    results = {"best_valid_mse": 0.5, "baseline_mse": 2.0, "best_epoch": 2, "epochs": 3, "best_valid_mae": 0.4}
    folder = root / "03-train-approx-embedding" / label
    trained = _stage(folder, "03-train-approx-embedding", parameters, {"embedding_dir": reduced + "/train"}, results)
    (folder / "history.csv").write_text("epoch,train_mse,valid_mse\n1,2,2.5\n2,1,0.5\n3,1,0.6\n")
    return trained


@pytest.fixture
def run(tmp_path):
    root = tmp_path / "run"
    skipped = [{"recording": "x.wav", "reason": "x.wav is <b>truncated</b>"}]
    _stage(root / "00-extract-teacher-embeddings", "00-extract-teacher-embeddings", results={"skipped": skipped})
    teacher = _embedding(root, "teacher", "teacher", teacher="openl3_audio_mel256_env")
    _judged(root, "teacher", teacher, 0.8)
    student = _embedding(root, "student", "student", {"model": _student(root, "first")})
    for seed, score in enumerate((0.7, 0.8)):
        _judged(root, "student", student, score, seed=seed)
    return root


def _table(report, title):
    return next(table for table in all_tables(report) if table.title == title)


def test_the_papers_rows_hold_what_was_published_and_what_was_measured(run):
    rows = {row[0]: row for row in _table(collect(run), "Table 1: models").rows}
    assert rows["L3-Audio"] == ("L3-Audio", "512", "18.80", "12.79", "0.810", "0.800")
    assert rows["Student 3"] == ("Student 3", "64", "1.64", "0.41", "0.784", "0.750 ± 0.071 (n = 2)")
    assert rows["Student 0"][-1] == "-"
    assert rows["prior (class frequencies)"][-1] == "0.410"


def test_the_sampling_is_taken_from_the_records_not_from_names(run):
    rows = {row[1]: row[-1] for row in _table(collect(run), "Table 2: sampling").rows}
    assert rows == {"dpp": "0.750 ± 0.071 (n = 2)", "random": "-", "dpp_div": "-", "spl": "-"}


def test_a_sweeps_rows_are_told_apart_by_what_leaves_the_papers_settings(run):
    other = _embedding(run, "student-2", "student", {"model": _student(run, "second", sampling="random")})
    _judged(run, "student-2", other, 0.6)
    names = {row[0] for row in _table(collect(run), "Table 1: models").rows}
    assert {"Student 3", "Student 3, sampling=random"} <= names


def test_the_summary_says_how_near_the_student_comes(run):
    assert (
        summary(collect(run))
        == "The student's micro-AUPRC is 0.750, 94 % of its teacher's 0.800; the prior gives 0.410."
    )


def test_a_stand_in_and_synthetic_audio_are_said_at_every_table_of_scores(run):
    _stage(run / "synthesize-street", "synthesize-street", results={"synthetic": True})
    teacher = _embedding(run, "stand-in", "teacher", is_stand_in=True, teacher="openl3_audio_mel256_env")
    _judged(run, "stand-in", teacher, 0.5)
    report = collect(run)
    for title in ("Table 1: models", "Table 2: sampling"):
        note = _table(report, title).note
        assert "Not comparable with the paper" in note and "STAND-IN" in note and "SYNTHETIC" in note
    assert any(row[0].startswith("teacher (stand-in)") for row in _table(report, "Table 1: models").rows)


def test_folds_are_laid_side_by_side(tmp_path):
    teacher = _embedding(tmp_path, "teacher", "teacher", teacher="other")
    _judged(tmp_path, "teacher", teacher, 0.75, dataset="esc50")
    table = _table(collect(tmp_path), "Accuracy by fold")
    assert table.header[-3:] == ("fold 1", "fold 2", "accuracy")
    assert table.rows[0] == ("teacher (the model)", "64", "1.60", "0.41", "0.750", "0.750", "0.750")
    assert table.rows[-1][-1] == "0.100"


@pytest.mark.parametrize("dataset", ["us8k", "dcase2013"])
def test_seeds_on_folds_are_a_row_with_mean_and_spread(tmp_path, dataset):
    teacher = _embedding(tmp_path, "teacher", "teacher", teacher="other")
    for seed, score in enumerate((0.7, 0.8)):
        _judged(tmp_path, "teacher", teacher, score, dataset=dataset, seed=seed)
    mfcc = _embedding(tmp_path, "mfcc", "mfcc", teacher="other")
    _judged(tmp_path, "mfcc", mfcc, 0.5, dataset=dataset)
    report = collect(tmp_path)
    rows = _table(report, "Accuracy by fold").rows
    assert [row[0] for row in rows] == ["teacher (the model)", "the model", "chance"]
    assert rows[0][-2:] == ("0.750", "0.750 ± 0.071 (n = 2)")
    assert _table(report, "Accuracy by fold").note.endswith("by a logistic regression on the clips of the others.")
    assert _table(report, "Accuracy by class").header == ("Category", "teacher (the model)", "the model")
    assert _table(report, "Differences between rows").rows == [
        ("teacher (the model)", "the model", "+0.200", "-", "-", "1 seed: too few to tell")
    ]


def test_a_student_that_labels_or_a_teacher_taught_is_a_row_with_its_own_size(tmp_path):
    """Its size is that of the network which 06 trained, and the figure joins those of one supervision."""
    teacher = _embedding(tmp_path, "teacher", "teacher", teacher="vggish")
    _judged(tmp_path, "teacher", teacher, 0.75, dataset="us8k")
    images = _embedding(tmp_path, "logmel-cnn", "logmel-cnn", teacher="vggish")
    for supervision in ("labels", "both"):
        for filters, size in (([8, 16], 0.5), ([2, 4], 0.05)):
            label = f"{supervision}-{size}"
            inputs = {"features": images} | ({"teacher_features": teacher} if supervision == "both" else {})
            _judged(tmp_path, label, inputs, 0.6 + size / 10, dataset="us8k")
            path = tmp_path / "06-train-classifier" / f"{label}-0" / "done.json"
            record = json.loads(path.read_text())
            record["parameters"] |= {"supervision": supervision, "student": filters[-1], "student_filters": filters}
            record["results"] |= {"embedding_size": filters[-1], "size_mb": size, "activation_mb": 0.1}
            path.write_text(json.dumps(record))
    report = collect(tmp_path)
    rows = {row[0]: row[1:] for row in _table(report, "Accuracy by fold").rows}
    small = "log-mel CNN of Student 2-4's size"
    assert rows[f"{small}, from labels alone"][:3] == ("4", "0.05", "0.10")
    assert rows[f"{small}, taught by embeddings and softened labels"][-1] == "0.605"
    assert rows["teacher (the model)"][1] == "1.60"
    assert len(rows) == 6
    (picture,) = [each for each in all_figures(report) if each.caption.startswith("Size against accuracy")]
    assert "log-mel CNN from labels alone" in picture.svg


def test_a_data_set_that_was_heard_upstream_is_said_to_be(tmp_path):
    heard = _stage(tmp_path / "00", "00-extract-teacher-embeddings", {}, {"audio_root": "/esc"})
    student = _embedding(tmp_path, "reduced", "reduced", {"features": heard})
    _judged(tmp_path, "reduced", student, 0.5, dataset="esc50", dataset_root="/esc")
    note = _table(collect(tmp_path), "Accuracy by fold").note
    assert "fitted on the audio of all folds, without its labels" in note
    _judged(tmp_path / "elsewhere", "reduced", student, 0.5, dataset="us8k", dataset_root="/us8k")
    _embedding(tmp_path / "elsewhere", "reduced", "reduced", {"features": heard})
    assert "out of their domain" in _table(collect(tmp_path / "elsewhere"), "Accuracy by fold").note


def test_what_is_unfinished_or_skipped_is_said(run, tmp_path):
    _stage(run / "04-export-student", "04-export-student", finished=False)
    write_report(collect(run), "A run", tmp_path / "out")
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "04-export-student is unfinished" in text
    assert "1 recordings were skipped" in text


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(run, tmp_path):
    write_report(collect(run), "A <run>", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;run&gt;" in page
    assert "x.wav is &lt;b&gt;truncated" in page
    assert "node&lt;1&gt;" in page
    assert not re.search(r"<script|<link|<img|@import", page)
    links = re.findall(r'\b(?:src|href)="([^"#][^"]*)"', page)
    assert links == ["https://ieeexplore.ieee.org/document/9414287"]
    assert page.count("<svg") == 4


def test_the_same_run_gives_the_same_page(run, tmp_path):
    for name in ("one", "two"):
        write_report(collect(run), "A run", tmp_path / name)
    assert (tmp_path / "one" / "report.html").read_text() == (tmp_path / "two" / "report.html").read_text()


def test_a_browser_shows_the_tables_and_figures(run, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium is installed")
    write_report(collect(run), "A run", tmp_path / "out")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += [
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    page = f"file://{tmp_path / 'out' / 'report.html'}"
    shown = subprocess.run([browser, *flags, "--dump-dom", page], capture_output=True, text=True, timeout=120).stdout
    assert shown.count("<table") == len(all_tables(collect(run))) + 1
    assert "0.750 ± 0.071" in shown
    subprocess.run([browser, *flags, f"--screenshot={tmp_path / 'page.png'}", page], capture_output=True, timeout=120)
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no stage's folder"):
        collect(tmp_path)


def test_intervals_curves_and_cooccurrence_are_shown_where_a_classifier_has_them(run, tmp_path):
    (done,) = (run / "06-train-classifier").glob("teacher-0/done.json")
    record = json.loads(done.read_text())
    results = record["results"]
    results["coarse"]["lwlrap"] = 0.9
    results["coarse_interval"] = {"micro_auprc": [0.75, 0.85]}
    results["coarse_by_proximity"] = {side: {"micro_auprc": score} for side, score in (("near", 0.88), ("far", 0.66))}
    results["cooccurrence"] = {"tags": ["engine", "dog"], "truth": [[1, 0.2], [0.4, 1]], "predicted": [[1, 0], [0, 1]]}
    done.write_text(json.dumps(record))
    done.with_name("curves.csv").write_text(
        "level,category,threshold,precision,recall\ncoarse,micro,0.1,0.5,1\ncoarse,micro,0.9,1,0.2\n"
    )
    report = collect(run)
    rows = _table(report, "How sure, how near").rows
    assert rows == [("L3-Audio", "0", "coarse", "0.800", "0.750 to 0.850", "0.880", "0.660", "0.900")]
    write_report(report, "A run", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 6
    assert "Precision and recall of the coarse tags" in page
    assert "Micro-AUPRC on SONYC-UST" in page


def test_a_score_on_synthetic_clips_is_not_called_one_on_sonyc_ust(run, tmp_path):
    _stage(run / "synthesize-street", "synthesize-street", results={"synthetic": True})
    write_report(collect(run), "A run", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Micro-AUPRC on synthetic clips" in page
    assert "on SONYC-UST" not in page
