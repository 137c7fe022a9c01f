"""The paper's tables beside ours, and what else of a run fits in a table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l3embedding.jobs.experiment import WITHOUT_UPSTREAM
from l3embedding.report import paper
from l3embedding.report.collect import Judged, Report, Run
from l3embedding.report.differences import NOTE as DIFFERENCES_NOTE
from l3embedding.report.differences import compare

NONE = "-"
_SUPERVISION = {
    "labels": "from labels alone",
    "embedding": "taught by embeddings",
    "soft_labels": "taught by softened labels",
    "both": "taught by embeddings and softened labels",
}
_MAX_PAIRED_ROWS = 6
"""Of more rows, only the first is compared with each other one."""


@dataclass(frozen=True)
class Table:
    """Cells as text, under a title, with a note."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """As aligned Markdown, which reads well on a terminal too."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        formatted = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        ]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        note = [self.note, ""] if self.note else []
        return "\n".join([f"## {self.title}", "", *note, formatted[0], rule, *formatted[1:], ""])


@dataclass(frozen=True)
class Score:
    """The scores of one row over its seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values))

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ± {np.std(self.values, ddof=1):.3f} (n = {len(self.values)})"


def all_tables(report: Report) -> list[Table]:
    """Every table that the report has something for."""
    tables: list[Table] = []
    if of_dataset(report, "sonyc_ust"):
        tables += [table_1(report), table_2(report), class_table(report), certainty_table(report)]
    elif report.judged:
        tables += [fold_table(report), class_table(report)]
    tables.append(differences_table(report))
    tables += [approximation_table(report), board_table(report), cost_table(report)]
    return [table for table in tables if table.rows]


def table_1(report: Report) -> Table:
    """The paper's Table 1: size and micro-AUPRC of the teacher and the students."""
    judged = of_dataset(report, "sonyc_ust")
    measured = scores(judged, row_name, main_score)
    sizes = {row_name(each): _size(each) for each in judged}
    rows = []
    for name, published in paper.MODELS.items():
        size = (str(published.embedding_size), f"{published.size_mb:.2f}", f"{published.activation_mb:.2f}")
        rows.append((name, *size, f"{published.micro_auprc:.3f}", str(measured.get(name, NONE))))
    rows += [(name, *sizes[name], NONE, str(score)) for name, score in measured.items() if name not in paper.MODELS]
    rows.append(("prior (class frequencies)", NONE, NONE, NONE, NONE, f"{floor(report):.3f}"))
    header = ("Model", "Emb. dim.", "Size (MB)", "Act. (MB)", "micro-AUPRC, paper", "micro-AUPRC, here")
    return Table("Table 1: models", header, rows, caveat(report))


def table_2(report: Report) -> Table:
    """The paper's Table 2: micro-AUPRC by sampling."""
    students = [each for each in of_dataset(report, "sonyc_ust") if each.representation == "student"]
    measured = scores(students, lambda each: each.parameter("sampling"), main_score)
    rows = [
        (name, key, f"{published:.3f}", str(measured.get(key, NONE)))
        for key, (name, published) in paper.SAMPLING.items()
    ]
    header = ("Sampling", "Key", "micro-AUPRC, paper", "micro-AUPRC, here")
    return Table("Table 2: sampling", header, rows, caveat(report))


def class_table(report: Report) -> Table:
    """AUPRC of each coarse category, or accuracy of each class."""
    judged = report.judged
    names = list(dict.fromkeys(map(row_name, judged)))
    rows = []
    for category in class_scores(judged[0]):
        by_row = scores(judged, row_name, lambda each, category=category: class_scores(each)[category])
        rows.append((category, *(f"{by_row[name].mean:.3f}" for name in names)))
    title = "AUPRC by category" if of_dataset(report, "sonyc_ust") else "Accuracy by class"
    return Table(title, ("Category", *names), rows)


def certainty_table(report: Report) -> Table:
    """How sure each classifier's score is, and what it is of near and far sources."""
    rows = []
    for each in of_dataset(report, "sonyc_ust"):
        results = each.run.results
        level = each.run.parameters.get("label_mode", "coarse")
        interval = results.get(f"{level}_interval")
        if interval is None:
            continue
        low, high = interval["micro_auprc"]
        sides = results.get(f"{level}_by_proximity") or {}
        near, far = (f"{sides[side]['micro_auprc']:.3f}" if sides else NONE for side in ("near", "far"))
        measured = results[level]
        scores = (f"{measured['micro_auprc']:.3f}", f"{low:.3f} to {high:.3f}", near, far, f"{measured['lwlrap']:.3f}")
        rows.append((row_name(each), str(each.run.parameters["seed"]), level, *scores))
    header = ("Model", "Seed", "Tags", "micro-AUPRC", "95 %", "near", "far", "lwlrap")
    note = "Between these bounds lie 95 % of 1000 resamplings of the judged clips; they say nothing of other seeds."
    return Table("How sure, how near", header, rows, note)


def fold_table(report: Report) -> Table:
    """Accuracy on the data set's own folds; over seeds, their mean and spread."""
    judged = report.judged
    folds = list(judged[0].run.results["fold_accuracy"])
    by_fold = {
        fold: scores(judged, row_name, lambda each, fold=fold: each.run.results["fold_accuracy"][fold])
        for fold in folds
    }
    sizes = {row_name(each): _size(each) for each in judged}
    rows = [
        (name, *sizes[name], *(f"{by_fold[fold][name].mean:.3f}" for fold in folds), str(score))
        for name, score in scores(judged, row_name, main_score).items()
    ]
    rows.append(("chance", *[NONE] * (3 + len(folds)), f"{floor(report):.3f}"))
    header = ("Model", "Emb. dim.", "Size (MB)", "Act. (MB)", *(f"fold {fold}" for fold in folds), "accuracy")
    return Table("Accuracy by fold", header, rows, " ".join(filter(None, (caveat(report), _how_judged(judged)))))


def _how_judged(judged: list[Judged]) -> str:
    """Say of a table by folds what judged them, and whether phi and the student had heard them."""
    kinds = dict.fromkeys(str(each.run.results["classifier"]) for each in judged)
    taught = f"Each fold is judged by a classifier ({', '.join(kinds)}) that the clips of the others taught."
    if list(kinds) == ["logistic"]:
        taught = "Each fold is judged by a logistic regression on the clips of the others."
    excluded = sorted({str(each.parameter("exclude_sensor")) for each in judged} - {"None"})
    heard = f"all folds but {', '.join(excluded)}" if excluded else "all folds"
    if WITHOUT_UPSTREAM.issuperset(each.representation for each in judged):
        return taught
    if any(_has_heard(each) for each in judged):
        return f"{taught} Phi and the student were fitted on the audio of {heard}, without its labels."
    return f"{taught} Phi and the student never heard this data set: it lies out of their domain."


def _has_heard(each: Judged) -> bool:
    """Whether the upstream recordings were those of the data set itself."""
    upstream = each.origin.get("00-extract-teacher-embeddings")
    return upstream is not None and upstream.inputs["audio_root"] == each.run.inputs["dataset_root"]


def approximation_table(report: Report) -> Table:
    """How near each student came to its targets."""
    rows = []
    for run in report.of_stage("03-train-approx-embedding"):
        results = run.results
        explained = 1 - results["best_valid_mse"] / results["baseline_mse"]
        rows.append(
            (
                student_name(run),
                f"{results['best_epoch']} of {results['epochs']}",
                f"{results['best_valid_mse']:.3f}",
                f"{results['baseline_mse']:.3f}",
                f"{100 * explained:.0f} %",
                f"{results['best_valid_mae']:.3f}",
            )
        )
    header = ("Student", "Best epoch", "MSE", "MSE of the mean", "Explained", "MAE")
    return Table("Approximation of phi(teacher) on validation frames", header, rows)


def board_table(report: Report) -> Table:
    """What the 8-bit students need of a board, beside the paper's."""
    rows = []
    for run in report.of_stage("04-export-student"):
        results = run.results
        rows.append(
            (
                "student, 8 bits",
                f"{results['int8_bytes'] / 1e6:.3f}",
                _fits(results["fits_flash"], results["flash_limit_bytes"]),
                f"{results['activation_bytes'] / 1e6:.4f}",
                NONE if results["arena_bytes"] is None else f"{results['arena_bytes'] / 1e6:.3f}",
                _fits(results["fits_ram"], results["ram_limit_bytes"]),
                f"{results['latency_ms']:.1f}",
                f"{results['mean_cosine']:.3f}",
            )
        )
    if rows:
        name, flash, ram = paper.BOARD
        rows.append((name, f"{flash:.3f}", NONE, f"{ram:.4f}", *[NONE] * 4))
    header = (
        "Model",
        "Flash (MB)",
        "of",
        "Largest map (MB)",
        "Arena (MB)",
        "of",
        "Latency here (ms)",
        "Cosine to float",
    )
    note = (
        "The paper's RAM is its largest feature map; the arena, measured with TensorFlow Lite Micro, is all it takes."
    )
    return Table("On the board", header, rows, note)


def cost_table(report: Report) -> Table:
    """Time and memory of each stage."""
    rows = [
        (
            run.stage,
            run.folder.name if run.folder.name != run.stage else "",
            f"{run.record['elapsed_s']:.1f}",
            f"{run.record['peak_memory_mb']:.0f}",
            run.record["host"],
        )
        for run in report.runs
        if run.finished and run.stage != "07-report"
    ]
    return Table("Time and memory", ("Stage", "Task", "Seconds", "Peak memory (MB)", "Host"), rows)


def summary(report: Report) -> str:
    """In a sentence, how near the student comes to its teacher."""
    by_representation = scores(report.judged, lambda each: each.representation, main_score)
    if not {"teacher", "student"} <= by_representation.keys():
        return ""
    teacher, student, least = by_representation["teacher"].mean, by_representation["student"].mean, floor(report)
    metric, bottom = ("micro-AUPRC", "the prior") if of_dataset(report, "sonyc_ust") else ("accuracy", "chance")
    return (
        f"The student's {metric} is {student:.3f}, {100 * student / teacher:.0f} % of its teacher's "
        f"{teacher:.3f}; {bottom} gives {least:.3f}."
    )


def caveat(report: Report) -> str:
    """Why the figures are not comparable with the paper's; empty if they are."""
    return f"**Not comparable with the paper: {' and '.join(report.caveats)}.**" if report.caveats else ""


def differences_table(report: Report) -> Table:
    """Each pair of rows: how much better one is, and whether that may be chance."""
    rows: dict[str, list[Judged]] = {}
    for each in report.judged:
        rows.setdefault(row_name(each), []).append(each)
    pairs = itertools.combinations(rows, 2) if len(rows) <= _MAX_PAIRED_ROWS else ((next(iter(rows)), n) for n in rows)
    lines = []
    for one, other in pairs:
        if one == other:
            continue
        difference = compare(rows[one], rows[other], main_score)
        lines.append((one, other, *difference.cells()))
    header = ("Row", "minus", "Difference", "95 % interval", "p", "n")
    return Table("Differences between rows", header, lines, DIFFERENCES_NOTE)


def scores(
    judged: Iterable[Judged], name: Callable[[Judged], str], score: Callable[[Judged], float]
) -> dict[str, Score]:
    """Gather scores by name, in order of appearance; what shares a name differs in its seed."""
    gathered: dict[str, list[float]] = {}
    for each in judged:
        gathered.setdefault(name(each), []).append(score(each))
    return {key: Score(tuple(values)) for key, values in gathered.items()}


def of_dataset(report: Report, dataset: str) -> list[Judged]:
    """The classifiers of one data set."""
    return [each for each in report.judged if each.run.parameters["dataset"] == dataset]


def main_score(each: Judged) -> float:
    """Micro-AUPRC, or accuracy."""
    results = each.run.results
    return results["accuracy"] if "accuracy" in results else results["coarse"]["micro_auprc"]


def class_scores(each: Judged) -> Mapping[str, float]:
    """AUPRC of each category, or accuracy of each class."""
    results = each.run.results
    return results["class_accuracy"] if "accuracy" in results else results["coarse"]["class_auprc"]


def floor(report: Report) -> float:
    """What knowing nothing scores: the prior's micro-AUPRC, or chance."""
    results = report.judged[0].run.results
    return results["chance"] if "chance" in results else results["prior"]["micro_auprc"]


def row_name(each: Judged) -> str:
    """How the tables call a row; the paper's names where the model and its settings are the paper's."""
    return ", ".join(filter(None, (_model_name(each), each.variant)))


def kind_name(each: Judged) -> str:
    """What a row is, whatever its size."""
    kind = each.representation
    if kind == "logmel-cnn":
        kind = f"log-mel CNN {_SUPERVISION[each.run.parameters['supervision']]}"
    return ", ".join(filter(None, (kind, each.variant)))


def _model_name(each: Judged) -> str:
    if each.representation == "teacher":
        is_paper = str(each.parameter("teacher")).startswith("openl3_audio_mel256_env")
        stand_in = each.embedding.results.get("is_stand_in")
        if stand_in or not is_paper:
            return f"teacher ({'stand-in' if stand_in else each.embedding.results['model_name']})"
        return paper.TEACHER
    if each.representation == "reduced":
        return f"phi(teacher), {each.embedding_size}-d"
    if each.representation == "mfcc":
        return str(each.embedding.results["model_name"])
    if each.representation == "logmel-cnn":
        return f"log-mel CNN of {student_name(each.run)}'s size, {_SUPERVISION[each.run.parameters['supervision']]}"
    name = student_name(each.origin["03-train-approx-embedding"])
    return name if each.representation == "student" else f"{name}, 8 bits"


def student_name(run: Run) -> str:
    """Student 0 to 3 for the paper's networks, else its filters."""
    dimension, filters = run.parameters["student"], run.parameters["student_filters"]
    by_size = {model.embedding_size: name for name, model in paper.MODELS.items() if name != paper.TEACHER}
    return by_size[dimension] if filters is None else "Student " + "-".join(map(str, filters))


def _size(each: Judged) -> tuple[str, str, str]:
    results: Mapping[str, Any] = each.model.results
    sizes = [results.get("size_mb"), results.get("activation_mb")]
    return str(each.embedding_size), *(NONE if size is None else f"{size:.2f}" for size in sizes)


def _fits(fits: bool | None, limit: int) -> str:
    return NONE if fits is None else f"{limit / 1e6:g} MB: {'fits' if fits else 'does not fit'}"
