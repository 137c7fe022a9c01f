"""The tables of a report: pivots of the results, the paper's figures beside ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from l3embedding.jobs.stages import EXPORT, TRAIN
from l3embedding.report import paper
from l3embedding.report.collect import POOLED, Report, caveats, chance_level, key_columns, main_metric, of_metric
from l3embedding.report.differences import NOTE as DIFFERENCES_NOTE
from l3embedding.report.differences import compare
from l3embedding.settings import UPSTREAM_REPRESENTATIONS

NONE = "-"
METRICS = {"accuracy": "accuracy", "micro_auprc": "micro-AUPRC"}
CLASSES = {"accuracy": "class_accuracy/", "micro_auprc": "class_auprc/"}
"""Main metric of a data set to the prefix of its values per class."""
_BOARD_COLUMNS = (
    ("int8_bytes", 1e6, 3),
    ("activation_bytes", 1e6, 4),
    ("arena_bytes", 1e6, 3),
    ("latency_ms", 1, 1),
    ("mean_cosine", 1, 3),
)
"""Metric, unit and decimals of the measured columns of the table of boards."""
_MAX_PAIRED_ROWS = 6
"""With more rows than this, only the first is compared with each other one."""


class Cell(str):
    """Text of a table, and the names of the runs behind it."""

    runs: tuple[str, ...]

    def __new__(cls, text: str, runs: Iterable[str] = ()) -> Cell:
        """Make one."""
        cell = super().__new__(cls, text)
        cell.runs = tuple(dict.fromkeys(runs))
        return cell


Line = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Cells under a title, with a note."""

    title: str
    header: Line
    rows: Sequence[Line]
    note: str = ""

    def markdown(self) -> str:
        """Format as aligned Markdown, readable on a terminal too."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
        heading, *body = [f"| {' | '.join(line)} |" for line in cells]
        rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
        note = [self.note, ""] if self.note else []
        return "\n".join([f"## {self.title}", "", *note, heading, rule, *body, ""])


def all_tables(report: Report) -> list[Table]:
    """Every table that the report has data for; tables of scores once per data set."""
    tables: list[Table] = []
    for dataset, rows in report.datasets.items():
        if main_metric(rows) == "accuracy":
            own = [fold_table(rows), class_table(rows)]
        else:
            own = [table_1(rows), table_2(rows), class_table(rows), confidence_table(rows)]
        several = f", evaluated on {dataset}" if len(report.datasets) > 1 else ""
        tables += [replace(each, title=each.title + several) for each in (*own, differences_table(rows))]
    tables += [approximation_table(report), board_table(report), cost_table(report)]
    return [table for table in tables if table.rows]


def scores(rows: pd.DataFrame, metric: str) -> dict[str, Cell]:
    """Each model's mean of a metric, in order of appearance; over several seeds, with their spread and number."""
    cells = {}
    for model, each in of_metric(rows, metric).groupby("model", sort=False):
        # The same run in two folders is not a second seed.
        values = each.groupby(POOLED, dropna=False)["value"].mean()
        spread = f" ± {values.std(ddof=1):.3f} (n = {len(values)})" if len(values) > 1 else ""
        cells[str(model)] = Cell(f"{values.mean():.3f}{spread}", each["run"])
    return cells


def means(rows: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """Means of the metrics that begin with `prefix`: a row for each of them, a column per model."""
    chosen = rows[rows["metric"].str.startswith(prefix) & (rows["level"] != "fine")]
    table = chosen.pivot_table("value", "metric", "model", sort=False)
    return table.rename(lambda metric: metric.removeprefix(prefix))[list(dict.fromkeys(chosen["model"]))]


def _mean_cells(rows: pd.DataFrame, prefix: str) -> dict[str, dict[str, str]]:
    """The same means as cells: metric to model to mean."""
    runs = dict(iter(rows.groupby("model")["run"]))
    return {
        str(key): {
            str(name): NONE if pd.isna(value) else Cell(f"{value:.3f}", runs[name]) for name, value in row.items()
        }
        for key, row in means(rows, prefix).iterrows()
    }


def table_1(rows: pd.DataFrame) -> Table:
    """The paper's Table 1: size and micro-AUPRC of the teacher and the students."""
    measured, sizes = scores(rows, "micro_auprc"), _sizes(rows)
    lines: list[Line] = []
    for name, published in paper.MODELS.items():
        size = (str(published.embedding_size), f"{published.size_mb:.2f}", f"{published.activation_mb:.2f}")
        lines.append((name, *size, f"{published.micro_auprc:.3f}", measured.get(name, NONE)))
    lines += [(name, *sizes[name], NONE, cell) for name, cell in measured.items() if name not in paper.MODELS]
    lines.append(("prior (class frequencies)", NONE, NONE, NONE, NONE, f"{chance_level(rows):.3f}"))
    header = ("Model", "Emb. dim.", "Size (MB)", "Act. (MB)", "micro-AUPRC, paper", "micro-AUPRC, here")
    return Table("Table 1: models", header, lines, caveat(rows))


def table_2(rows: pd.DataFrame) -> Table:
    """Micro-AUPRC of each student by the sample that its phi was fitted on, as in the paper's table of samplings."""
    students = rows[rows["representation"] == "student"]
    lines: list[Line] = []
    for key, (name, published) in paper.SAMPLING.items():
        sampled = students[students["sample.method"] == key] if "sample.method" in students else students[:0]
        measured = scores(sampled, "micro_auprc") or {NONE: Cell(NONE)}
        lines += [(name, key, model, f"{published:.3f}", cell) for model, cell in measured.items()]
    header = ("Sampling", "Key", "Model", "micro-AUPRC, paper", "micro-AUPRC, here")
    note = "The paper's figures are of phi(teacher) itself, a PCA to 64 dimensions, without a student."
    return Table("Table 2: sampling", header, lines, f"{caveat(rows)} {note}".strip())


def class_table(rows: pd.DataFrame) -> Table:
    """AUPRC of each coarse category, or accuracy of each class."""
    prefix = CLASSES[main_metric(rows)]
    title = "Accuracy by class" if main_metric(rows) == "accuracy" else "AUPRC by category"
    lines = [(key, *cells.values()) for key, cells in _mean_cells(rows, prefix).items()]
    return Table(title, ("Category", *means(rows, prefix).columns), lines)


def confidence_table(rows: pd.DataFrame) -> Table:
    """Each classifier's confidence interval, and its score on near and far sources."""
    lines = []
    ambiguous = rows["random_state"].nunique() > 1
    trained = rows[rows["level"] == rows.get("classifier.label_mode", "coarse")]
    for run, each in trained.groupby("run", sort=False):
        value, first = dict(zip(each["metric"], each["value"], strict=True)), each.iloc[0]
        if "interval_low/micro_auprc" not in value:
            continue
        shown = {key: f"{number:.3f}" for key, number in value.items()}
        interval = f"{shown['interval_low/micro_auprc']} to {shown['interval_high/micro_auprc']}"
        others = (shown.get(key, NONE) for key in ("near/micro_auprc", "far/micro_auprc", "lwlrap"))
        cells = (Cell(cell, [str(run)]) for cell in (shown["micro_auprc"], interval, *others))
        seed = f"{first['seed']} ({first['random_state']})" if ambiguous else str(first["seed"])
        lines.append((first["model"], seed, first["level"], *cells))
    seed = "Seed (random state)" if ambiguous else "Seed"
    header = ("Model", seed, "Tags", "micro-AUPRC", "95 % confidence interval", "near", "far", "lwlrap")
    note = "The intervals cover 95 % of 1000 resamplings of the evaluated clips. They do not cover the choice of seed."
    return Table("Confidence intervals and proximity", header, lines, note)


def fold_table(rows: pd.DataFrame) -> Table:
    """Accuracy on the data set's own folds; over seeds, their mean and spread."""
    folds, sizes = _mean_cells(rows, "fold_accuracy/"), _sizes(rows)
    lines: list[Line] = [
        (name, *sizes[name], *(cells.get(name, NONE) for cells in folds.values()), cell)
        for name, cell in scores(rows, "accuracy").items()
    ]
    lines.append(("chance level", *[NONE] * (3 + len(folds)), f"{chance_level(rows):.3f}"))
    header = ("Model", "Emb. dim.", "Size (MB)", "Act. (MB)", *(f"fold {fold}" for fold in folds), "accuracy")
    return Table("Accuracy by fold", header, lines, f"{caveat(rows)} {_protocol(rows)}".strip())


def _protocol(rows: pd.DataFrame) -> str:
    """How a data set with folds is evaluated, and whether phi and the student were trained on its audio."""
    kinds = sorted({str(each) for each in rows.get("folds.classifier", rows["model"][:0]).dropna()})
    if (rows["representation"] == "logmel-cnn").any():
        kinds.append("the network itself")
    named = "a logistic regression" if kinds == ["logistic"] else f"a classifier ({', '.join(kinds)})"
    protocol = f"On each fold, {named} is evaluated that was trained on the other folds."
    models = rows[rows["representation"].isin(UPSTREAM_REPRESENTATIONS)].drop_duplicates("model")
    if models.empty:
        return protocol
    # A column is absent where no record has the parameter.
    models = models.reindex(columns=["model", "dataset.root", "recordings.root", "recordings.exclude_sensor"])
    seen = models[[_overlap(*roots) for roots in zip(models["recordings.root"], models["dataset.root"], strict=True)]]
    if seen.empty:
        unseen = "Phi and the student were trained without the audio of this data set, as far as the paths tell."
        return f"{protocol} {unseen}"
    excluded = seen["recordings.exclude_sensor"].unique()
    folds = "all folds" if pd.isna(excluded).all() else f"all folds but {excluded[0]}"
    if len(excluded) > 1:
        folds = "all folds but their recordings.exclude_sensor"
    of = "" if len(seen) == len(models) else f" of {' and '.join(seen['model'])}"
    return f"{protocol} Phi and the student{of} were trained on the audio of {folds}, without its labels."


def _overlap(one: object, other: object) -> bool:
    """Whether two folders are the same or one is within the other."""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    roots = Path(one).resolve(), Path(other).resolve()
    return roots[0].is_relative_to(roots[1]) or roots[1].is_relative_to(roots[0])


def approximation_table(report: Report) -> Table:
    """How closely each student approximates its targets."""
    rows = report.of_stage(TRAIN)
    shown = {key: scores(rows, key) for key in ("best_valid_mse", "baseline_mse", "best_valid_mae")}
    wide = rows.pivot_table("value", ["model", "run"], "metric", sort=False, aggfunc="first")
    lines = []
    for model in shown["best_valid_mse"]:
        runs = wide.loc[model]
        explained = 100 * (1 - runs["best_valid_mse"] / runs["baseline_mse"]).mean()
        epochs = ", ".join(f"{each['best_epoch']:.0f} of {each['epochs']:.0f}" for _, each in runs.iterrows())
        mse, baseline, mae = (cells[model] for cells in shown.values())
        lines.append((model, epochs, mse, baseline, f"{explained:.0f} %", mae))
    header = ("Student", "Best epoch", "MSE", "MSE of the mean", "Explained", "MAE")
    return Table("Approximation of phi(teacher) on validation frames", header, lines)


def board_table(report: Report) -> Table:
    """What the 8-bit students need of a board, beside the paper's."""
    lines: list[Line] = []
    for model, each in report.of_stage(EXPORT).groupby("model", sort=False):
        value = each.groupby("metric")["value"].mean().to_dict()
        shown = [
            NONE if key not in value else Cell(f"{value[key] / unit:.{digits}f}", each["run"])
            for key, unit, digits in _BOARD_COLUMNS
        ]
        limits = [
            f"{value[f'{memory}_limit_bytes'] / 1e6:g} MB: {'fits' if value[f'fits_{memory}'] == 1 else 'does not fit'}"
            # An arena that could not be measured neither fits nor does not.
            if f"fits_{memory}" in value
            else NONE
            for memory in ("flash", "ram")
        ]
        lines.append((str(model), shown[0], limits[0], *shown[1:3], limits[1], *shown[3:]))
    if lines:
        name, flash, ram = paper.BOARD
        lines.append((name, f"{flash:.3f}", NONE, f"{ram:.4f}", *[NONE] * 4))
    columns = "Model,Flash (MB),of,Largest map (MB),Arena (MB),of,Latency here (ms),Cosine to float"
    note = "The paper's RAM is its largest feature map; the arena, measured with TensorFlow Lite Micro, is all the RAM."
    return Table("On the board", tuple(columns.split(",")), lines, note)


def cost_table(report: Report) -> Table:
    """Time and memory of each stage."""
    lines = []
    for run, rows in report.results.groupby("run"):
        value, first = rows.set_index("metric")["value"], rows.iloc[0]
        task = str(run).removeprefix(first["stage"]).removeprefix("/")
        seconds = Cell(f"{value['elapsed_s']:.1f}", [str(run)])
        lines.append((first["stage"], task, seconds, f"{value['peak_memory_mb']:.0f}", str(first["host"])))
    return Table("Time and memory", ("Stage", "Task", "Seconds", "Peak memory (MB)", "Host"), lines)


def differences_table(rows: pd.DataFrame) -> Table:
    """Each pair of rows: the difference, its confidence interval, and its p-value."""
    models = dict(iter(of_metric(rows, main_metric(rows)).groupby("model", sort=False)))
    pairs = list(itertools.combinations(models, 2))
    if len(models) > _MAX_PAIRED_ROWS:
        pairs = pairs[: len(models) - 1]
    lines = []
    for one, other in pairs:
        difference, *cells = compare(models[one], models[other]).cells()
        runs = [*models[one]["run"], *models[other]["run"]]
        lines.append((str(one), str(other), Cell(difference, runs), *cells))
    header = ("Row", "minus", "Difference", "95 % confidence interval", "p", "n")
    return Table("Differences between rows", header, lines, DIFFERENCES_NOTE)


def summary(report: Report) -> list[str]:
    """For each data set, in a sentence, how close the best student comes to its teacher."""
    sentences = []
    for dataset, rows in report.datasets.items():
        metric = main_metric(rows)
        main = of_metric(rows, metric)
        students = main[main["representation"] == "student"].groupby("model", sort=False)["value"].mean()
        if students.empty:
            continue
        best, value = students.idxmax(), float(students.max())
        teachers = main[main["representation"] == "teacher"]
        own = main[main["model"] == best].iloc[0]
        # A sweep may have several teachers; the student's is the one whose settings are the student's, too.
        keys = key_columns(main)
        same = (teachers[keys].isna() | (teachers[keys].map(str) == own[keys].map(str))).all(axis=1)
        teachers = teachers[same] if same.any() else teachers
        if teachers["model"].nunique() != 1:
            continue
        teacher = float(teachers["value"].mean())
        where = f"On {dataset}, the" if len(report.datasets) > 1 else "The"
        who = f"{where} student's" if len(students) == 1 else f"{where} best of {len(students)} students is {best}: its"
        sentences.append(
            f"{who} {METRICS[metric]} is {value:.3f}, {100 * value / teacher:.0f} % of its teacher's "
            f"{teacher:.3f}; the chance level is {chance_level(rows):.3f}."
        )
    return sentences


def caveat(rows: pd.DataFrame) -> str:
    """Why the figures are not comparable with the paper's; empty if they are."""
    reasons = caveats(rows)
    return f"**Not comparable with the paper: {' and '.join(reasons)}.**" if reasons else ""


def _sizes(rows: pd.DataFrame) -> dict[str, Line]:
    """Of each model, its embedding's dimension, its size and its largest feature map, both in MB."""
    columns = ["model", "embedding_size", "size_mb", "activation_mb"]
    return {
        model: (str(dim), *(NONE if pd.isna(size) else f"{size:.2f}" for size in sizes))
        for model, dim, *sizes in rows.drop_duplicates("model")[columns].itertuples(index=False)
    }
