"""Figures of a run, as SVG text that a page can hold."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from l3embedding.downstream.sonyc_ust import CURVES
from l3embedding.report.collect import Report
from l3embedding.report.tables import (
    class_scores,
    floor,
    kind_name,
    main_score,
    of_dataset,
    row_name,
    scores,
    student_name,
)

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")

_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(color=COLORS),
    "svg.fonttype": "none",
    # The same report is the same file.
    "svg.hashsalt": "report",
}


@dataclass(frozen=True)
class Picture:
    """An SVG with its caption."""

    caption: str
    svg: str


def all_figures(report: Report) -> list[Picture]:
    """Every figure that the report has something for."""
    with plt.rc_context(_STYLE):
        draws = (
            score_figure,
            size_figure,
            class_figure,
            confusion_figure,
            curve_figure,
            cooccurrence_figure,
            learning_figure,
            diversity_figure,
            variance_figure,
            tsne_figure,
        )
        pictures = [draw(report) for draw in draws]
    return [picture for picture in pictures if picture]


def score_figure(report: Report) -> Picture | None:
    """Score of each row, with what knowing nothing gives."""
    if not report.judged:
        return None
    measured = scores(report.judged, row_name, main_score)
    figure, axes = plt.subplots(figsize=(7, 0.45 * len(measured) + 1))
    names = list(measured)[::-1]
    means = [measured[name].mean for name in names]
    spread = [np.std(measured[name].values, ddof=1) if len(measured[name].values) > 1 else 0 for name in names]
    bars = axes.barh(names, means, xerr=spread if any(spread) else None, color=COLORS[0], height=0.6)
    axes.bar_label(bars, fmt="%.3f", padding=4)
    axes.axvline(floor(report), color=COLORS[3], linestyle="--", linewidth=1.2)
    axes.set_xlim(0, 1)
    axes.grid(axis="y", visible=False)
    clips = "synthetic clips" if report.is_synthetic else "SONYC-UST"
    metric = f"micro-AUPRC on {clips}" if of_dataset(report, "sonyc_ust") else "accuracy"
    axes.set_xlabel(metric)
    return _picture(figure, f"{metric[0].upper()}{metric[1:]}; dashed, what knowing nothing gives.")


def size_figure(report: Report) -> Picture | None:
    """Score against the size of the model; what differs in its size alone is joined."""
    sized = [each for each in report.judged if each.model.results.get("size_mb")]
    if len({each.model.results["size_mb"] for each in sized}) < 2:
        return None
    figure, axes = plt.subplots(figsize=(7, 4))
    kinds = list(dict.fromkeys(map(kind_name, sized)))
    for kind, color in zip(kinds, _cycle(len(kinds)), strict=True):
        of_kind = [each for each in sized if kind_name(each) == kind]
        by_size = scores(of_kind, lambda each: each.model.results["size_mb"], main_score)
        sizes = sorted(by_size)
        axes.plot(sizes, [by_size[size].mean for size in sizes], color=color, marker="o", label=kind)
    axes.axhline(floor(report), color=COLORS[3], linestyle="--", linewidth=1.2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("size (MB)")
    metric = "micro-AUPRC" if of_dataset(report, "sonyc_ust") else "accuracy"
    axes.set_ylabel(metric)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return _picture(figure, f"Size against {metric}; dashed, what knowing nothing gives.")


def class_figure(report: Report) -> Picture | None:
    """Score of each class, row beside row."""
    if not report.judged:
        return None
    rows = list(dict.fromkeys(map(row_name, report.judged)))
    classes = list(class_scores(report.judged[0]))
    figure, axes = plt.subplots(figsize=(9, 3.4))
    width = 0.8 / len(rows)
    for index, name in enumerate(rows):
        judged = [each for each in report.judged if row_name(each) == name]
        heights = [np.mean([class_scores(each)[label] for each in judged]) for label in classes]
        axes.bar(np.arange(len(classes)) + (index - (len(rows) - 1) / 2) * width, heights, width, label=name)
    axes.set_xticks(range(len(classes)), classes, rotation=25, ha="right")
    axes.set_ylim(0, 1)
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    metric = "AUPRC" if of_dataset(report, "sonyc_ust") else "accuracy"
    axes.set_ylabel(metric)
    return _picture(figure, f"{metric[0].upper()}{metric[1:]} of each class.")


def confusion_figure(report: Report) -> Picture | None:
    """What the student's clips of each class are taken for."""
    shown = [each for each in report.judged if each.representation == "student"] or report.judged
    if not shown or not (shown[0].run.folder / "confusion.csv").is_file():
        return None
    table = pd.read_csv(shown[0].run.folder / "confusion.csv", index_col="category")
    share = table.div(table.sum(axis=1), axis=0)
    side = max(3.0, 0.3 * len(table) + 1.5)
    figure, axes = plt.subplots(figsize=(side, side))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(table)), table.columns, rotation=90)
    axes.set_yticks(range(len(table)), table.index)
    axes.grid(visible=False)
    for row, column in zip(*np.nonzero(table.to_numpy()), strict=True):
        color = "white" if share.iat[row, column] > 0.5 else "black"
        axes.text(column, row, str(table.iat[row, column]), ha="center", va="center", fontsize=7, color=color)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    return _picture(figure, f"Confusion of {row_name(shown[0])}: clips over all folds.")


def curve_figure(report: Report) -> Picture | None:
    """Precision against recall of the pooled coarse tags, row beside row; of the first seed."""
    firsts = {row_name(each): each for each in reversed(of_dataset(report, "sonyc_ust"))}
    paths = {name: each.run.folder / CURVES for name, each in reversed(firsts.items())}
    paths = {name: path for name, path in paths.items() if path.is_file()}
    if not paths:
        return None
    figure, axes = plt.subplots(figsize=(5, 4.4))
    for (name, path), color in zip(paths.items(), _cycle(len(paths)), strict=True):
        table = pd.read_csv(path)
        micro = table[(table["level"] == "coarse") & (table["category"] == "micro")]
        axes.plot(micro["recall"], micro["precision"], color=color, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return _picture(figure, "Precision and recall of the coarse tags, pooled, by threshold.")


def cooccurrence_figure(report: Report) -> Picture | None:
    """Which coarse tags occur together, in truth and by the first row's predictions."""
    judged = [each for each in of_dataset(report, "sonyc_ust") if "cooccurrence" in each.run.results]
    if not judged:
        return None
    shares = judged[0].run.results["cooccurrence"]
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    for axes, key in zip(panels, ("truth", "predicted"), strict=True):
        image = axes.imshow(shares[key], vmin=0, vmax=1, cmap="cividis")
        axes.grid(visible=False)
        axes.set_xticks(range(len(shares["tags"])), shares["tags"], rotation=90)
        axes.set_yticks(range(len(shares["tags"])), shares["tags"])
        axes.set_title(key if key == "truth" else f"predicted: {row_name(judged[0])}", fontsize=9)
    figure.colorbar(image, ax=panels, shrink=0.8)
    return _picture(figure, "Co-occurrence: share of the clips with the row's tag that have the column's, too.")


def learning_figure(report: Report) -> Picture | None:
    """Mean squared error by epoch, beside that of always predicting the mean."""
    runs = report.of_stage("03-train-approx-embedding")
    if not runs:
        return None
    figure, axes = plt.subplots(figsize=(7, 3.4))
    for color, run in zip(_cycle(len(runs)), runs, strict=True):
        history = pd.read_csv(run.folder / "history.csv")
        name = student_name(run) if len(runs) < 2 else f"{student_name(run)} {run.folder.name}"
        axes.plot(history["epoch"], history["train_mse"], color=color, linestyle=":", label=f"{name}, training")
        axes.plot(history["epoch"], history["valid_mse"], color=color, label=f"{name}, validation")
        axes.axhline(run.results["baseline_mse"], color=COLORS[3], linestyle="--", linewidth=1.2)
    # The first epochs of a network whose normalisation is still settling would hide all others.
    axes.set_ylim(0, 2 * max(run.results["baseline_mse"] for run in runs))
    axes.set_xlabel("epoch")
    axes.set_ylabel("MSE")
    axes.legend(frameon=False, fontsize=8)
    return _picture(figure, "Distillation: error of the student; dashed, of always predicting the mean embedding.")


def diversity_figure(report: Report) -> Picture | None:
    """How each sensor's sample differs from random ones, in their standard deviations."""
    runs = [run for run in report.of_stage("01-sample-teacher-embeddings") if run.results.get("diagnostics")]
    if not runs:
        return None
    measures = ("log_volume", "coverage", "mean_relevance")
    figure, panels = plt.subplots(1, len(measures), figsize=(9, 0.28 * len(runs[0].results["diagnostics"]) + 1.6))
    for axes, measure in zip(panels, measures, strict=True):
        for run, color in zip(runs, _cycle(len(runs)), strict=True):
            diagnostics = run.results["diagnostics"]
            judged = [diagnostics[sensor][measure] for sensor in diagnostics]
            axes.scatter(
                [each["sample"] for each in judged], range(len(judged)), color=color, label=run.parameters["sampling"]
            )
        axes.errorbar(
            [each["random_mean"] for each in judged],
            range(len(judged)),
            xerr=[2 * each["random_std"] for each in judged],
            fmt="|",
            color="#888888",
            label="random, two standard deviations",
        )
        axes.set_yticks(range(len(judged)), list(diagnostics) if axes is panels[0] else [""] * len(judged))
        axes.set_ylim(-0.5, len(judged) - 0.5)
        axes.set_xlabel(measure.replace("_", " "))
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="upper center", ncols=4)
    figure.tight_layout(rect=(0, 0, 1, 0.9))
    return _picture(
        figure,
        "Sampling: was diversity bought? Volume of the sample (log det an item), likeness of a frame to the nearest "
        "sampled one, and relevance, beside random samples of the same size.",
    )


def tsne_figure(report: Report) -> Picture | None:
    """The sampled embeddings on a plane."""
    runs = [run for run in report.of_stage("02-fit-reduction") if run.results.get("tsne")]
    if not runs:
        return None
    figure, axes = plt.subplots(figsize=(6, 5))
    sensors = runs[0].results["tsne"]
    for (sensor, points), color in zip(sensors.items(), _cycle(len(sensors)), strict=True):
        axes.scatter(*np.transpose(points), s=6, color=color, label=sensor)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8, markerscale=2)
    return _picture(figure, "Sampled teacher embeddings by t-SNE: a picture, not the reduction.")


def variance_figure(report: Report) -> Picture | None:
    """Variance of the sample that phi keeps, by dimensions."""
    # UMAP keeps no share of it.
    runs = [run for run in report.of_stage("02-fit-reduction") if "explained_variance_ratios" in run.results]
    if not runs:
        return None
    figure, axes = plt.subplots(figsize=(7, 3))
    for run in runs:
        ratios = run.results["explained_variance_ratios"]
        name = run.folder.name if len(runs) > 1 else run.results["embedding_key"]
        axes.plot(np.arange(1, len(ratios) + 1), np.cumsum(ratios), label=name)
    axes.set_ylim(0, 1)
    axes.set_xlabel("dimensions")
    axes.set_ylabel("explained variance")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return _picture(figure, "Reduction: share of the sample's variance that phi keeps.")


def _cycle(n: int) -> list[str]:
    return [COLORS[index % len(COLORS)] for index in range(n)]


def _picture(figure: Figure, caption: str) -> Picture:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    svg = buffer.getvalue()
    # The XML declaration and the document type have no place within a page.
    return Picture(caption, re.sub(r"^.*?(?=<svg)", "", svg, count=1, flags=re.DOTALL))
