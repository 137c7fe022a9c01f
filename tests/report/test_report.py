"""The report, on made-up runs with known figures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import pandas as pd
import pytest

from l3embedding.jobs.journal import dotted
from l3embedding.jobs.stages import STAGES
from l3embedding.report import paper
from l3embedding.report.collect import SUPERVISION, collect
from l3embedding.report.figures import all_figures
from l3embedding.report.page import write_report
from l3embedding.report.tables import all_tables, summary
from l3embedding.settings import CnnSettings, SampleSettings
from l3embedding.utils.errors import InputError

CLASSES = {"engine": 0.9, "dog": 0.5}


def _fingerprint(path):
    """As of `l3embedding.jobs.folder`, but of paths outside any stage's folder, too, that do not exist."""
    path = Path(path)
    inside = (place for place in (path, *path.parents) if (place / "done.json").is_file())
    return next((json.loads((place / "done.json").read_text())["signature"] + "/." for place in inside), "files")


def _stage(folder, stage, parameters=None, inputs=None, results=None, finished=True):
    folder.mkdir(parents=True)
    parameters, inputs = parameters or {}, inputs or {}
    record = {
        "stage": stage,
        "signature": str(folder).replace("/", ":"),
        "signed": dotted(parameters),
        "inputs": inputs,
    }
    record["fingerprints"] = {flag: _fingerprint(path) for flag, path in inputs.items()}
    for each in STAGES[stage].inputs:
        if each.setting and each.name in inputs:
            section, _, field = each.setting.partition(".")
            parameters = parameters | {section: parameters.get(section, {}) | {field: inputs[each.name]}}
    record["parameters"] = parameters
    (folder / "config.json").write_text(json.dumps(record))
    if finished:
        record |= {"results": results or {}, "host": "node<1>", "job_id": None, "started": "", "finished": "now"}
        record |= {"elapsed_s": 12.5, "peak_memory_mb": 300.0}
        (folder / "done.json").write_text(json.dumps(record))
    return str(folder)


def _evaluated(root, label, model, score, dataset="sonyc_ust", seed=0, dataset_root="/data", **groups):
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
    embedded = model["features"] if isinstance(model, dict) else model
    with open(embedded + "/config.json") as file:
        representation = json.load(file)["parameters"]["representation"]
    # As the records have them: what makes no difference to this classifier is not there.
    own = {"folds": {"classifier": "logistic", "clip_statistics": "mean"}}
    if dataset == "sonyc_ust":
        own = {"classifier": {"label_mode": "coarse", "model_type": "mil"}}
    parameters = {
        "dataset": {"name": dataset, "evaluate_split": "validate"},
        "representation": representation,
        "seed": seed,
        **own,
    }
    return _stage(
        root / "06-train-classifier" / f"{label}-{seed}",
        "06-train-classifier",
        parameters | groups,
        (model if isinstance(model, dict) else {"features": model}) | {"dataset_root": dataset_root},
        results,
    )


def _embedding(root, label, representation, inputs=None, is_stand_in=False, size=64, teacher=None, dataset="sonyc_ust"):
    results = {"embedding_size": size, "size_mb": 1.5978, "activation_mb": 0.4096, "is_stand_in": is_stand_in}
    results["model_name"] = "the model"
    teacher = {"name": teacher or "openl3_audio_mel256_env", "embedding_size": None, "stand_in": is_stand_in}
    parameters = {"representation": representation, "dataset": {"name": dataset, "hop_size": 0.1}}
    parameters |= {"teacher": {"teacher": teacher}, "logmel-cnn": {"student": {"asr": 8000}}}.get(representation, {})
    folder = root / "05-generate-embedding-samples" / label
    return _stage(folder, "05-generate-embedding-samples", parameters, inputs, results)


def _student(root, label, audio_dir=None, random_state=1, sample="dpp", **student):
    student = {"dim": 64, "filters": None, "head": "linear", "asr": 8000} | student
    folder = root / "01-sample-teacher-embeddings" / label
    sampling = {"sample": {"method": sample, "size": 9}, "random_state": random_state}
    audio = {"audio_dir": audio_dir} if audio_dir else {}
    sampled = _stage(folder, "01-sample-teacher-embeddings", sampling, audio, {"n_sampled": 9})
    phi = root / "02-fit-reduction" / label
    reduction = {"reduction": {"mode": "pca", "kernel": "linear"}, "student": {"dim": student["dim"]}}
    results = {"explained_variance_ratios": [0.5, 0.25], "embedding_key": "pca_x"}
    reduced = _stage(phi, "02-fit-reduction", reduction, {"sample_dir": sampled}, results)
    results = {"best_valid_mse": 0.5, "baseline_mse": 2.0, "best_epoch": 2, "epochs": 3, "best_valid_mae": 0.4}
    parameters = {"student": student, "distillation": {"loss": "mse"}, "random_state": random_state}
    folder = root / "03-train-approx-embedding" / label
    trained = _stage(folder, "03-train-approx-embedding", parameters, {"embedding_dir": reduced + "/train"}, results)
    (folder / "history.csv").write_text("epoch,train_mse,valid_mse\n1,2,2.5\n2,1,0.5\n3,1,0.6\n")
    return trained


def _evaluated_student(root, label, score, dataset="sonyc_ust", seeds=(0,), dataset_root="/data", **student):
    trained = _student(root, label, **student)
    embedded = _embedding(root, label, "student", {"model": trained}, size=student.get("dim", 64))
    for seed in seeds:
        _evaluated(root, label, embedded, score + seed / 100, dataset, seed, dataset_root)


@pytest.fixture
def run(tmp_path):
    root = tmp_path / "run"
    skipped = [{"recording": "x.wav", "reason": "x.wav is <b>truncated</b>"}]
    _stage(root / "00-extract-teacher-embeddings", "00-extract-teacher-embeddings", results={"skipped": skipped})
    _evaluated(root, "teacher", _embedding(root, "teacher", "teacher"), 0.8)
    student = _embedding(root, "student", "student", {"model": _student(root, "first")})
    for seed, score in enumerate((0.7, 0.8)):
        _evaluated(root, "student", student, score, seed=seed)
    return root


def _table(report, title):
    return next(table for table in all_tables(report) if table.title == title)


def _scores(report, title="Table 1: models"):
    return {row[0]: row[-1] for row in _table(report, title).rows}


def test_the_papers_rows_hold_what_was_published_and_what_was_measured(run):
    rows = {row[0]: row for row in _table(collect(run), "Table 1: models").rows}
    assert rows["L3-Audio"] == ("L3-Audio", "512", "18.80", "12.74", "0.810", "0.800")
    assert rows["Student 3"] == ("Student 3", "64", "1.60", "0.41", "0.784", "0.750 ± 0.071 (n = 2)")
    assert rows["Student 0"][-1] == "-"
    assert rows["prior (class frequencies)"][-1] == "0.410"


def test_the_sampling_is_taken_from_the_records_not_from_names(run):
    rows = {row[1]: row[-1] for row in _table(collect(run), "Table 2: sampling").rows}
    assert rows == {"dpp": "0.750 ± 0.071 (n = 2)", "random": "-", "dpp_div": "-", "spl": "-"}


def test_results_are_one_table_that_pandas_reads(run, tmp_path):
    write_report(collect(run), "A run", tmp_path)
    results = pd.read_csv(tmp_path / "results.csv")
    student = results[(results["stage"] == "06-train-classifier") & (results["model"] == "Student 3")]
    assert student[student["metric"] == "micro_auprc"]["value"].tolist() == [0.7, 0.8]
    assert set(student["metric"]) >= {"macro_auprc", "class_auprc/engine", "prior_micro_auprc", "elapsed_s"}
    assert set(student["seed"]) == {0, 1}
    first = student[student["metric"] == "micro_auprc"].iloc[0]
    assert (first["sample.method"], first["reduction.mode"], first["student.dim"]) == ("dpp", "pca", 64)
    assert set(results["dataset"].dropna()) == {"sonyc_ust"}
    assert (first["dataset"], first["dataset.root"], first["level"]) == ("sonyc_ust", "/data", "coarse")
    assert (first["embedding_size"], first["size_mb"], first["synthetic"]) == (64, 1.5978, False)
    assert results[results["stage"] < "03"]["model"].isna().all()
    training = results[results["stage"] == "03-train-approx-embedding"]
    assert training.set_index("metric")["value"]["best_valid_mse"] == 0.5


def test_a_parameter_that_does_not_count_has_no_value(tmp_path):
    """A record has all parameters of a sampling, but the kernel counts for a determinantal point process only."""
    for method in ("dpp", "random"):
        _evaluated_student(tmp_path, method, 0.5, sample=method)
        path = tmp_path / "01-sample-teacher-embeddings" / method / "done.json"
        record = json.loads(path.read_text())
        record["parameters"]["sample"]["kernel"] = "unit"
        record["signed"] |= {"sample.kernel": "unit"} if method == "dpp" else {}
        path.write_text(json.dumps(record))
    rows = collect(tmp_path).datasets["sonyc_ust"].set_index("sample.method")
    assert set(rows.loc["dpp", "sample.kernel"]) == {"unit"}
    assert rows.loc["random", "sample.kernel"].isna().all()


def test_an_own_parameter_wins_over_an_ancestors(run):
    other = _student(run, "second", random_state=5)
    embedded = _embedding(run, "second", "student", {"model": other})
    _evaluated(run, "second", embedded, 0.5, dataset="sonyc_ust", random_state=7)
    assert set(collect(run).results.set_index("run").loc["06-train-classifier/second-0", "random_state"]) == {7}


def test_a_cell_pools_seeds_alone_so_different_students_are_different_rows(tmp_path):
    _evaluated_student(tmp_path, "one", 0.7, dim=64)
    _evaluated_student(tmp_path, "two", 0.9, dim=256)
    _evaluated_student(tmp_path, "three", 0.8, dim=64, head="relu")
    scores = _scores(collect(tmp_path))
    assert (scores["Student 3"], scores["Student 1"], scores["Student 3, student.head=relu"]) == (
        "0.700",
        "0.900",
        "0.800",
    )


def test_random_states_are_pooled_as_seeds_are(tmp_path):
    _evaluated_student(tmp_path, "one", 0.7, random_state=1, seeds=(0, 1))
    _evaluated_student(tmp_path, "two", 0.9, random_state=2, seeds=(0, 1))
    assert _scores(collect(tmp_path))["Student 3"] == "0.805 ± 0.116 (n = 4)"
    assert {row[1] for row in _table(collect(tmp_path), "Approximation of phi(teacher) on validation frames").rows} == {
        "2 of 3, 2 of 3"
    }


def test_names_exist_for_all_supervisions_and_samplings():
    assert SUPERVISION.keys() == set(get_args(CnnSettings.model_fields["supervision"].annotation))
    assert paper.SAMPLING.keys() == set(get_args(SampleSettings.model_fields["method"].annotation))


def test_the_same_run_in_two_folders_is_not_a_second_seed(run):
    shutil.copytree(run / "06-train-classifier" / "teacher-0", run / "06-train-classifier" / "teacher-copy")
    assert _scores(collect(run))["L3-Audio"] == "0.800"


@pytest.mark.parametrize(
    ("swept", "names"),
    [
        ([{"sample": "dpp"}, {"sample": "random"}], ["Student 3", "Student 3, sample.method=random"]),
        (
            [{"sample": "spl"}, {"sample": "random"}],
            ["Student 3, sample.method=spl", "Student 3, sample.method=random"],
        ),
        ([{"sample": "random"}], ["Student 3"]),
        ([{"filters": [16, 32, 64], "dim": 64}], ["Student 16-32-64"]),
        ([{}, {"filters": [32, 64, 128, 64]}], ["Student 3", "Student 3, student.filters=32-64-128-64"]),
        ([{}, {"unknown": 1}], ["Student 3", "Student 3, student.unknown=1"]),
    ],
    ids=["default", "neither default", "no sweep", "own filters", "the paper's filters", "unknown"],
)
def test_names_are_extended_by_what_tells_rows_apart(tmp_path, swept, names):
    for index, student in enumerate(swept):
        _evaluated_student(tmp_path, f"{index}", 0.5 + index / 10, **student)
    rows = collect(tmp_path).datasets["sonyc_ust"]
    assert list(dict.fromkeys(rows["model"])) == names


def test_rows_that_only_a_default_tells_apart_have_different_names(tmp_path):
    """One record lacks the parameter, the other has its default: both would be left out of the name."""
    for index, loss in enumerate(({}, {"loss": "mse"})):
        _evaluated_student(tmp_path, f"{index}", 0.5 + index / 10)
        path = tmp_path / "03-train-approx-embedding" / f"{index}" / "done.json"
        record = json.loads(path.read_text())
        record["parameters"]["distillation"] = loss
        record["signed"] = dotted(record["parameters"])
        path.write_text(json.dumps(record))
    names = set(collect(tmp_path).datasets["sonyc_ust"]["model"])
    assert names == {"Student 3, distillation.loss=-", "Student 3, distillation.loss=mse"}


@pytest.fixture
def sweep(tmp_path):
    """Two upstream corpora by two downstream data sets by three seeds."""
    root = tmp_path / "sweep"
    for corpus in ("/data/harbour", "/data/street"):
        label = corpus[6:]
        name = "00-extract-teacher-embeddings"
        extracted = _stage(root / name / label, name, {"teacher": {"stand_in": False}}, {"audio_root": corpus})
        trained = _student(root, label, audio_dir=extracted)
        for dataset, at in (("sonyc_ust", 0.7), ("esc50", 0.3)):
            embedded = _embedding(root, f"student,{label},{dataset}", "student", {"model": trained}, dataset=dataset)
            for seed in range(3):
                score = at + (corpus == "/data/street") / 10 + seed / 100
                _evaluated(root, f"{label},{dataset}", embedded, score, dataset, seed, f"/data/{dataset}")
    for dataset, score in (("sonyc_ust", 0.9), ("esc50", 0.5)):
        embedded = _embedding(root, f"teacher,{dataset}", "teacher", dataset=dataset)
        for seed in range(3):
            _evaluated(root, f"teacher,{dataset}", embedded, score + seed / 100, dataset, seed, f"/data/{dataset}")
    return root


def test_each_data_set_has_its_own_tables_and_no_table_mixes_metrics(sweep):
    report = collect(sweep)
    street, harbour = "Student 3, recordings.root=street", "Student 3, recordings.root=harbour"
    scores = _scores(report, "Table 1: models, evaluated on sonyc_ust")
    assert scores["L3-Audio"] == "0.910 ± 0.010 (n = 3)"
    assert (scores[harbour], scores[street]) == ("0.710 ± 0.010 (n = 3)", "0.810 ± 0.010 (n = 3)")
    scores = _scores(report, "Accuracy by fold, evaluated on esc50")
    assert scores == {
        "L3-Audio": "0.510 ± 0.010 (n = 3)",
        harbour: "0.310 ± 0.010 (n = 3)",
        street: "0.410 ± 0.010 (n = 3)",
        "chance level": "0.100",
    }
    titles = [table.title for table in all_tables(report)]
    assert len(set(titles)) == len(titles)
    assert "Table 2: sampling, evaluated on esc50" not in titles
    rows = _table(report, "Table 2: sampling, evaluated on sonyc_ust").rows
    assert [row[2] for row in rows if row[1] == "dpp"] == [harbour, street]


def test_the_headline_names_the_data_set_and_the_best_student(sweep):
    assert summary(collect(sweep)) == [
        "On esc50, the best of 2 students is Student 3, recordings.root=street: its accuracy is 0.410, 80 % of its "
        "teacher's 0.510; the chance level is 0.100.",
        "On sonyc_ust, the best of 2 students is Student 3, recordings.root=street: its micro-AUPRC is 0.810, 89 % of "
        "its teacher's 0.910; the chance level is 0.410.",
    ]


def test_the_pages_of_two_data_sets_have_figures_of_both(sweep):
    captions = [picture.caption for picture in all_figures(collect(sweep))]
    for start in ("Micro-AUPRC on SONYC-UST", "Accuracy on ESC-50", "AUPRC of each class", "Accuracy of each class"):
        assert sum(caption.startswith(start) for caption in captions) == 1


def test_sampling_and_reduction_are_drawn_for_each_method(tmp_path):
    for index, method in enumerate(("dpp", "random")):
        _evaluated_student(tmp_path, f"{index}", 0.5, sample=method)
        path = tmp_path / "01-sample-teacher-embeddings" / f"{index}" / "done.json"
        record = json.loads(path.read_text())
        measured = {"sample": 0.5, "random_mean": 0.4, "random_std": 0.1}
        measures = dict.fromkeys(("log_volume", "coverage", "mean_relevance"), measured)
        record["results"]["diagnostics"] = {"a": measures, "b": measures}
        path.write_text(json.dumps(record))
    pictures = {picture.caption.partition(":")[0]: picture.svg for picture in all_figures(collect(tmp_path))}
    assert ">dpp<" in pictures["Sampling"] and ">random<" in pictures["Sampling"]
    assert "pca, sample.method=random" in pictures["Reduction"]


def test_a_t_sne_layout_is_drawn(run):
    layouts = {"01-sample-teacher-embeddings/first": {"street-00": [[0.0, 1.0], [2.0, 3.0]], "street-01": [[1.0, 1.0]]}}
    (picture,) = [each for each in all_figures(collect(run), layouts) if "t-SNE" in each.caption]
    assert "street-01" in picture.svg


def test_other_splits_of_a_data_set_are_another_data_set(run):
    embedded = str(run / "05-generate-embedding-samples" / "teacher")
    _evaluated(run, "on-test", embedded, 0.6)
    path = run / "06-train-classifier" / "on-test-0" / "done.json"
    record = json.loads(path.read_text())
    record["parameters"]["dataset"]["evaluate_split"] = "test"
    path.write_text(json.dumps(record))
    report = collect(run)
    assert _scores(report, "Table 1: models, evaluated on sonyc_ust")["L3-Audio"] == "0.800"
    other = "Table 1: models, evaluated on sonyc_ust, dataset.evaluate_split=test"
    assert _scores(report, other)["L3-Audio"] == "0.600"


def test_each_score_links_to_the_runs_behind_it(run, tmp_path):
    write_report(collect(run), "A run", run / "07-report")
    page = (run / "07-report" / "report.html").read_text()
    links = re.findall(r'<a href="(\.\.[^"]*)" title="[^"]*">([^<]*)</a>', page)
    assert ("../06-train-classifier/teacher-0/", "0.800") in links
    folder = "06-train-classifier/student"
    both = f'<a href="../{folder}-0/" title="{folder}-0, {folder}-1">'
    assert f"{both}0.750 ± 0.071 (n = 2)</a>" in page
    assert ("../06-train-classifier/student-1/", "run 2") in links
    for link, _ in links:
        assert (run / "07-report" / unquote(link) / "done.json").is_file()


def test_the_headline_compares_the_student_with_its_teacher(run):
    assert summary(collect(run)) == [
        "The student's micro-AUPRC is 0.750, 94 % of its teacher's 0.800; the chance level is 0.410."
    ]


def test_the_headlines_teacher_is_the_one_that_the_student_was_distilled_from(tmp_path):
    for teacher, score in (("vggish", 0.6), ("openl3_audio_mel256_env", 0.8)):
        name = "00-extract-teacher-embeddings"
        given = {"teacher": {"name": teacher, "embedding_size": None, "stand_in": False}}
        extracted = _stage(tmp_path / name / teacher, name, given, {"audio_root": "/data/street"})
        _evaluated(tmp_path, teacher, _embedding(tmp_path, teacher, "teacher", teacher=teacher), score)
        _evaluated_student(tmp_path, f"of-{teacher}", score - 0.3, audio_dir=extracted)
    assert summary(collect(tmp_path)) == [
        "The best of 2 students is Student 3: its micro-AUPRC is 0.500, 62 % of its teacher's 0.800; the chance level "
        "is 0.410."
    ]


def test_a_stand_in_and_synthetic_audio_are_named_at_every_table_of_scores(run):
    street = _stage(run / "synthesize-street", "synthesize-street", results={"synthetic": True})
    teacher = _embedding(run, "stand-in", "teacher", is_stand_in=True)
    _evaluated(run, "stand-in", teacher, 0.5, dataset_root=street + "/sonyc_ust")
    report = collect(run)
    for title in ("Table 1: models", "Table 2: sampling"):
        tables = [table for table in all_tables(report) if table.title.startswith(title)]
        (note,) = [table.note for table in tables if "Not comparable with the paper" in table.note]
        assert "STAND-IN" in note and "SYNTHETIC" in note
    (table,) = [each for each in all_tables(report) if each.title.startswith("Table 1") and each.note]
    assert any(row[0] == "teacher (stand-in)" for row in table.rows)


def test_folds_are_side_by_side(tmp_path):
    teacher = _embedding(tmp_path, "teacher", "teacher", teacher="other")
    _evaluated(tmp_path, "teacher", teacher, 0.75, dataset="esc50")
    table = _table(collect(tmp_path), "Accuracy by fold")
    assert table.header[-3:] == ("fold 1", "fold 2", "accuracy")
    assert table.rows[0] == ("teacher (the model)", "64", "1.60", "0.41", "0.750", "0.750", "0.750")
    assert table.rows[-1][-1] == "0.100"


@pytest.mark.parametrize("dataset", ["us8k", "dcase2013"])
def test_seeds_on_folds_are_a_row_with_mean_and_spread(tmp_path, dataset):
    teacher = _embedding(tmp_path, "teacher", "teacher", teacher="other")
    for seed, score in enumerate((0.7, 0.8)):
        _evaluated(tmp_path, "teacher", teacher, score, dataset=dataset, seed=seed)
    mfcc = _embedding(tmp_path, "mfcc", "mfcc")
    _evaluated(tmp_path, "mfcc", mfcc, 0.5, dataset=dataset)
    report = collect(tmp_path)
    rows = _table(report, "Accuracy by fold").rows
    assert [row[0] for row in rows] == ["teacher (the model)", "the model", "chance level"]
    assert rows[0][-2:] == ("0.750", "0.750 ± 0.071 (n = 2)")
    assert _table(report, "Accuracy by fold").note == (
        "On each fold, a logistic regression is evaluated that was trained on the other folds."
    )
    assert _table(report, "Accuracy by class").header == ("Category", "teacher (the model)", "the model")
    assert _table(report, "Differences between rows").rows == [
        ("teacher (the model)", "the model", "+0.200", "-", "-", "1 seed: too few")
    ]


def test_a_network_trained_from_labels_or_a_teacher_is_a_row_with_its_own_size(tmp_path):
    """Its size is that of the network which 06 trained, and the figure joins those of one supervision."""
    teacher = _embedding(tmp_path, "teacher", "teacher", teacher="vggish")
    _evaluated(tmp_path, "teacher", teacher, 0.75, dataset="us8k")
    images = _embedding(tmp_path, "logmel-cnn", "logmel-cnn")
    for supervision in ("labels", "both"):
        for filters, size in (([8, 16], 0.5), ([2, 4], 0.05)):
            label = f"{supervision}-{size}"
            inputs = {"features": images} | ({"teacher_features": teacher} if supervision == "both" else {})
            own = {"cnn": {"supervision": supervision}, "student": {"dim": filters[-1], "filters": filters}}
            _evaluated(tmp_path, label, inputs, 0.6 + size / 10, dataset="us8k", **own)
            path = tmp_path / "06-train-classifier" / f"{label}-0" / "done.json"
            record = json.loads(path.read_text())
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


def test_the_report_tells_whether_upstream_training_used_the_data_sets_audio(tmp_path):
    name = "00-extract-teacher-embeddings"
    excluding = {"recordings": {"exclude_sensor": "fold-5"}}
    extracted = _stage(tmp_path / name / "one", name, excluding, {"audio_root": "/esc"})
    _evaluated_student(tmp_path, "one", 0.5, dataset="esc50", dataset_root="/esc", audio_dir=extracted)
    note = _table(collect(tmp_path), "Accuracy by fold").note
    assert "Phi and the student were trained on the audio of all folds but fold-5, without its labels." in note
    other = _stage(tmp_path / name / "other", name, {"recordings": {"exclude_sensor": None}}, {"audio_root": "/street"})
    _evaluated_student(tmp_path, "two", 0.5, dataset="esc50", dataset_root="/esc", audio_dir=other)
    note = _table(collect(tmp_path), "Accuracy by fold").note
    assert (
        "Phi and the student of Student 3, recordings.root=esc, recordings.exclude_sensor=fold-5 were trained" in note
    )
    elsewhere = tmp_path / "elsewhere"
    _evaluated_student(elsewhere, "one", 0.5, dataset="us8k", dataset_root="/us8k", audio_dir=extracted)
    note = _table(collect(elsewhere), "Accuracy by fold").note
    assert note.endswith("trained without the audio of this data set, as far as the paths tell.")


def test_parameters_are_inherited_from_another_experiments_output(tmp_path):
    name = "00-extract-teacher-embeddings"
    extracted = _stage(tmp_path / "earlier" / name, name, {"recordings": {"hop_size": 0.1}}, {"audio_root": "/a"})
    _evaluated_student(tmp_path / "later", "one", 0.5, audio_dir=extracted)
    rows = collect(tmp_path / "later").datasets["sonyc_ust"]
    assert set(rows["recordings.hop_size"]) == {0.1} and set(rows["recordings.root"]) == {"/a"}


def test_a_result_of_a_student_that_was_trained_again_since_is_not_the_new_students(run):
    path = run / "03-train-approx-embedding" / "first" / "done.json"
    record = json.loads(path.read_text()) | {"signature": "another"}
    path.write_text(json.dumps(record))
    rows = collect(run).datasets["sonyc_ust"]
    assert "Student 3" not in set(rows["model"]) and str(path.parent) in set(rows["inputs.model"])


def test_a_student_from_elsewhere_is_named_by_its_file(tmp_path):
    embedded = _embedding(tmp_path, "student", "student", {"model": "/models/tiny.keras"})
    _evaluated(tmp_path, "student", embedded, 0.5)
    rows = collect(tmp_path).datasets["sonyc_ust"]
    assert set(rows["model"]) == {"student (the model)"} and set(rows["inputs.model"]) == {"/models/tiny.keras"}


@pytest.mark.parametrize("move", [shutil.copytree, shutil.move])
def test_a_run_that_was_moved_or_copied_has_the_same_results(run, tmp_path, move):
    before = collect(run).results
    move(run, tmp_path / "there")
    after = collect(tmp_path / "there").results
    pd.testing.assert_frame_equal(before.drop(columns="folder"), after.drop(columns="folder"))


@pytest.mark.parametrize("lost", ["", "done.json"], ids=["deleted", "being recomputed"])
def test_a_classifier_whose_embeddings_are_gone_is_left_out_with_a_remark(run, tmp_path, lost):
    path = run / "05-generate-embedding-samples" / "student" / lost
    (path.unlink if lost else lambda: shutil.rmtree(path))()
    write_report(collect(run), "A run", tmp_path / "out")
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "06-train-classifier/student-0 is left out: its embeddings were deleted" in text
    assert _scores(collect(run))["Student 3"] == "-"


def test_what_is_unfinished_or_skipped_is_reported(run, tmp_path):
    _stage(run / "04-export-student", "04-export-student", finished=False)
    write_report(collect(run), "A run", tmp_path / "out")
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "04-export-student is unfinished" in text
    assert "1 recordings were skipped" in text


def test_a_run_without_classifiers_has_a_page(tmp_path):
    _student(tmp_path / "run", "only")
    write_report(collect(tmp_path / "run"), "A run", tmp_path)
    text = (tmp_path / "tables.md").read_text()
    assert "Approximation of phi(teacher)" in text and "Table 1" not in text


def test_exported_students_are_named_and_fit_or_not(run):
    trained = str(run / "03-train-approx-embedding" / "first")
    limits = {"flash_limit_bytes": 2_000_000, "ram_limit_bytes": 100_000, "fits_flash": True, "fits_ram": False}
    sizes = {"int8_bytes": 426_456, "arena_bytes": 213_866, "activation_bytes": 102_400}
    results = limits | sizes | {"latency_ms": 0.63, "mean_cosine": 0.997}
    _stage(run / "04-export-student", "04-export-student", {"board": {}}, {"student_dir": trained}, results)
    rows = _table(collect(run), "On the board").rows
    assert rows[0] == (
        *("Student 3, 8 bits", "0.426", "2 MB: fits", "0.1024"),
        *("0.214", "0.1 MB: does not fit", "0.6", "0.997"),
    )
    assert rows[1][0] == "Student 2, 8 bits (paper)"


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(run, tmp_path):
    write_report(collect(run), "A <run>", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;run&gt;" in page
    assert "x.wav is &lt;b&gt;truncated" in page
    assert "node&lt;1&gt;" in page
    assert not re.search(r"<script|<link|<img|@import", page)
    links = re.findall(r'\b(?:src|href)="([^"#][^"]*)"', page)
    elsewhere = {link for link in links if not link.startswith("run/")}
    assert elsewhere == {"results.csv", "https://ieeexplore.ieee.org/document/9414287"}
    assert page.count("<svg") == 4


def test_the_same_run_gives_the_same_page(run, tmp_path):
    for name in ("one", "two"):
        write_report(collect(run), "A run", tmp_path / name)
    for file in ("report.html", "results.csv", "tables.md", "tables.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


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
    rows = _table(report, "Confidence intervals and proximity").rows
    assert rows == [("L3-Audio", "0", "coarse", "0.800", "0.750 to 0.850", "0.880", "0.660", "0.900")]
    write_report(report, "A run", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 6
    assert "Precision and recall of the coarse tags" in page
    assert "Micro-AUPRC on SONYC-UST" in page


def test_a_score_on_synthetic_clips_is_not_called_one_on_sonyc_ust(run, tmp_path):
    street = _stage(run / "synthesize-street", "synthesize-street", results={"synthetic": True})
    for path in (run / "06-train-classifier").glob("*/done.json"):
        record = json.loads(path.read_text())
        record["inputs"]["dataset_root"] = record["parameters"]["dataset"]["root"] = street + "/sonyc_ust"
        record["fingerprints"]["dataset_root"] = _fingerprint(street)
        path.write_text(json.dumps(record))
    write_report(collect(run), "A run", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Micro-AUPRC on synthetic clips" in page
    assert "on SONYC-UST" not in page
