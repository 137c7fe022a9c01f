"""Figures of a run, as SVG text for an HTML page."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from l3embedding.data.datasets import DATASETS
from l3embedding.data.shards import TEACHER_KEY, read_dataset
from l3embedding.jobs.folder import DONE
from l3embedding.jobs.stages import REDUCE, SAMPLE, TRAIN
from l3embedding.report.collect import SUPERVISION, Report, chance_level, key_columns, main_metric, name_rows, of_metric
from l3embedding.report.tables import CLASSES, METRICS, means
from l3embedding.utils.files import read_json

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    # The same report is the same file.
    "svg.hashsalt": "report",
}
_DASHED: Any = {"color": COLORS[3], "linestyle": "--", "linewidth": 1.2}


logger = logging.getLogger(__name__)

Layout = dict[str, list[list[float]]]
"""Sensor to its points on the plane, `[n, 2]`."""


@dataclass(frozen=True)
class Picture:
    """An SVG with its caption."""

    caption: str
    svg: str


def all_figures(report: Report, tsne: Mapping[str, Layout] | None = None) -> list[Picture]:
    """Draw every figure that the report has data for; figures of scores once per data set.

    `tsne` maps a run of stage 01 to its layout.
    """
    with plt.rc_context(_STYLE):
        draws = (score_figure, size_figure, class_figure, confusion_figure, curve_figure, cooccurrence_figure)
        pictures = [draw(rows, _place(name, rows)) for name, rows in report.datasets.items() for draw in draws]
        pictures += [draw(report) for draw in (learning_figure, diversity_figure, variance_figure)]
        pictures += [tsne_figure(name, layout) for name, layout in (tsne or {}).items()]
    return [picture for picture in pictures if picture]


def tsne_layout(samples: list[Path], points: int, random_state: int) -> Layout:
    """Lay sampled embeddings out on a plane by t-SNE.

    Parameters
    ----------
    samples
        The sample files of stage 01, one per sensor.
    points
        Embeddings to show, in equal parts of all sensors.
    random_state
        Seed.
    """
    rng = np.random.default_rng(random_state)
    each = -(-points // len(samples))
    embeddings = [read_dataset(path, TEACHER_KEY) for path in samples]
    embeddings = [rows[np.sort(rng.permutation(len(rows))[:each])] for rows in embeddings]
    stacked = StandardScaler().fit_transform(np.concatenate(embeddings))
    # scikit-learn demands a perplexity below the number of points; a third of them is the usual bound.
    perplexity = min(30, (len(stacked) - 1) / 3)
    logger.info("t-SNE of %d embeddings", len(stacked))
    plane = TSNE(perplexity=perplexity, init="pca", random_state=random_state).fit_transform(stacked)
    parts = np.split(plane, np.cumsum([len(rows) for rows in embeddings])[:-1])
    return {path.stem: part.round(3).tolist() for path, part in zip(samples, parts, strict=True)}


def _place(name: str, rows: pd.DataFrame) -> str:
    """What a data set is called in captions."""
    key = rows["dataset.name"].iloc[0]
    title = name.replace(key, DATASETS[key].title, 1) if key in DATASETS else name
    return "synthetic clips" if rows["synthetic"].any() else title


def score_figure(rows: pd.DataFrame, place: str) -> Picture:
    """Score of each model, beside the chance level."""
    main = of_metric(rows, main_metric(rows))
    values = main.groupby("model", sort=False)["value"]
    mean, spread = values.mean()[::-1], values.std()[::-1].fillna(0)
    figure, axes = plt.subplots(figsize=(7, 0.45 * len(mean) + 1))
    bars = axes.barh(mean.index, mean, xerr=spread if spread.any() else None, color=COLORS[0], height=0.6)
    axes.bar_label(bars, fmt="%.3f", padding=4)
    axes.axvline(chance_level(rows), **_DASHED)
    axes.set_xlim(0, 1)
    axes.grid(axis="y", visible=False)
    metric = f"{METRICS[main_metric(rows)]} on {place}"
    axes.set_xlabel(metric)
    return _picture(figure, f"{metric[0].upper()}{metric[1:]}; dashed: chance level.")


def size_figure(rows: pd.DataFrame, place: str) -> Picture | None:
    """Score against the size of the model; models that differ in their size alone are joined."""
    main = of_metric(rows, main_metric(rows))
    main = main[main["size_mb"].notna()]
    if main["size_mb"].nunique() < 2:
        return None
    main = main.assign(kind=main["representation"], size=main["size_mb"].astype(float))
    if "cnn.supervision" in main:
        taught = main["cnn.supervision"].map(SUPERVISION)
        main["kind"] = main["kind"].where(taught.isna(), "log-mel CNN " + taught.fillna(""))
    others = [key for key in key_columns(rows) if key not in ("student.dim", "student.filters")]
    main["kind"] = name_rows(main, "kind", others)
    figure, axes = plt.subplots(figsize=(7, 4))
    for kind, each in main.groupby("kind", sort=False):
        points = each.groupby("model")[["size", "value"]].mean().sort_values("size")
        axes.plot(points["size"], points["value"], marker="o", label=kind)
    axes.axhline(chance_level(rows), **_DASHED)
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="size (MB)", ylabel=METRICS[main_metric(rows)])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="lower right")
    return _picture(figure, f"Size against {METRICS[main_metric(rows)]} on {place}; dashed: chance level.")


def class_figure(rows: pd.DataFrame, place: str) -> Picture:
    """Score of each class, model beside model."""
    metric = "accuracy" if main_metric(rows) == "accuracy" else "AUPRC"
    figure, axes = plt.subplots(figsize=(9, 3.4))
    table = means(rows, CLASSES[main_metric(rows)])
    table.plot.bar(ax=axes, width=0.8, ylim=(0, 1), xlabel="", ylabel=metric)
    axes.set_xticks(range(len(table)), table.index, rotation=25, ha="right")
    axes.grid(axis="x", visible=False)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return _picture(figure, f"{metric[0].upper()}{metric[1:]} of each class on {place}.")


def confusion_figure(rows: pd.DataFrame, place: str) -> Picture | None:
    """The first student's confusion matrix, or the first model's where there is no student."""
    runs = rows.drop_duplicates("run")
    students = runs[runs["representation"] == "student"]
    shown = (runs if students.empty else students).iloc[0]
    path = Path(shown["folder"]) / "confusion.csv"
    if not path.is_file():
        return None
    table = pd.read_csv(path, index_col="category")
    counts = table.to_numpy(int)
    share = counts / counts.sum(axis=1, keepdims=True)
    side = max(3.0, 0.3 * len(table) + 1.5)
    figure, axes = plt.subplots(figsize=(side, side))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(table)), table.columns, rotation=90)
    axes.set_yticks(range(len(table)), table.index)
    axes.grid(visible=False)
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=color)
    axes.set(xlabel="predicted", ylabel="class")
    return _picture(figure, f"Confusion of {shown['model']} on {place}: clips over all folds.")


def curve_figure(rows: pd.DataFrame, place: str) -> Picture | None:
    """Precision against recall of the pooled coarse tags, model beside model; of the first seed."""
    firsts = rows.drop_duplicates("model")
    paths = {name: Path(folder) / "curves.csv" for name, folder in zip(firsts["model"], firsts["folder"], strict=True)}
    paths = {name: path for name, path in paths.items() if path.is_file()}
    if not paths:
        return None
    figure, axes = plt.subplots(figsize=(5, 4.4))
    for name, path in paths.items():
        micro = pd.read_csv(path).query("level == 'coarse' and category == 'micro'")
        axes.plot(micro["recall"], micro["precision"], label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.legend(loc="lower left")
    return _picture(figure, f"Precision and recall of the coarse tags, pooled, by threshold, on {place}.")


def cooccurrence_figure(rows: pd.DataFrame, place: str) -> Picture | None:
    """Which coarse tags occur together, in truth and by the first model's predictions."""
    first = rows.iloc[0]
    # From the record itself: a matrix has no place in a table of numbers.
    shares = read_json(Path(first["folder"]) / DONE)["results"].get("cooccurrence")
    if not shares:
        return None
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    for axes, key in zip(panels, ("truth", "predicted"), strict=True):
        image = axes.imshow(shares[key], vmin=0, vmax=1, cmap="cividis")
        axes.grid(visible=False)
        axes.set_xticks(range(len(shares["tags"])), shares["tags"], rotation=90)
        axes.set_yticks(range(len(shares["tags"])), shares["tags"])
        axes.set_title(key if key == "truth" else f"predicted: {first['model']}", fontsize=9)
    figure.colorbar(image, ax=panels, shrink=0.8)
    caption = f"Co-occurrence on {place}: share of the clips with the row's tag that have the column's, too."
    return _picture(figure, caption)


def learning_figure(report: Report) -> Picture | None:
    """Mean squared error by epoch, beside that of always predicting the mean."""
    baselines = of_metric(report.of_stage(TRAIN), "baseline_mse")
    if baselines.empty:
        return None
    figure, axes = plt.subplots(figsize=(7, 3.4))
    several_seeds = baselines["model"].duplicated().any()
    for (_, run), color in zip(baselines.iterrows(), cycle(COLORS), strict=False):
        history = pd.read_csv(Path(run["folder"]) / "history.csv")
        for split, style in (("train", ":"), ("valid", "-")):
            label = f"{run['model']}, {'training' if split == 'train' else 'validation'}"
            label += f" ({run['random_state']})" if several_seeds else ""
            axes.plot(history["epoch"], history[f"{split}_mse"], color=color, linestyle=style, label=label)
        axes.axhline(run["value"], **_DASHED)
    # The first epochs of a network whose normalisation is still settling would hide all others.
    axes.set(ylim=(0, 2 * baselines["value"].max()), xlabel="epoch", ylabel="MSE")
    axes.legend()
    caption = "Distillation: error of the student; dashed: error of always predicting the mean embedding."
    return _picture(figure, caption)


def diversity_figure(report: Report) -> Picture | None:
    """Volume, coverage and relevance of each sensor's sample, beside those of random samples."""
    rows = report.of_stage(SAMPLE)
    rows = rows[rows["metric"].str.startswith("diagnostics/")]
    if rows.empty:
        return None
    path = rows["metric"].str.split("/")
    names = name_rows(rows, "sample.method", key_columns(rows))
    rows = rows.assign(sensor=path.str[1], measure=path.str[2], of=path.str[3], name=names)
    sensors = rows["sensor"].unique()
    measures = ("log_volume", "coverage", "mean_relevance")
    figure, panels = plt.subplots(1, len(measures), figsize=(9, 0.28 * len(sensors) + 1.6))
    for axes, measure in zip(panels, measures, strict=True):
        chosen = rows[rows["measure"] == measure]
        for name, each in chosen.groupby("name", sort=False):
            values = each.pivot_table("value", "sensor", "of").reindex(sensors)
            axes.scatter(values["sample"], range(len(sensors)), label=name)
        # Random samples are about the same for all methods; those of the last one are shown.
        label = "random, two standard deviations"
        spread = 2 * values["random_std"]
        axes.errorbar(values["random_mean"], range(len(sensors)), xerr=spread, fmt="|", color="#888888", label=label)
        axes.set_yticks(range(len(sensors)), sensors if axes is panels[0] else [""] * len(sensors))
        axes.set(ylim=(-0.5, len(sensors) - 0.5), xlabel=measure.replace("_", " "))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="upper center", ncols=4)
    figure.tight_layout(rect=(0, 0, 1, 0.9))
    shown = "volume of the sample (log det per item), similarity of a frame to the nearest sampled one, and relevance"
    return _picture(figure, f"Sampling: {shown}, beside random samples of the same size.")


def variance_figure(report: Report) -> Picture | None:
    """Variance of the sample that phi keeps, by dimensions."""
    rows = report.of_stage(REDUCE)
    # UMAP keeps no share of it.
    rows = rows[rows["metric"].str.startswith("explained_variance_ratios/")]
    if rows.empty:
        return None
    figure, axes = plt.subplots(figsize=(7, 3))
    rows = rows.assign(name=name_rows(rows, "reduction.mode", key_columns(rows)))
    for _, each in rows.groupby("run", sort=False):
        axes.plot(np.arange(1, len(each) + 1), each["value"].cumsum(), label=each["name"].iloc[0])
    axes.set(ylim=(0, 1), xlabel="dimensions", ylabel="explained variance")
    axes.legend(loc="lower right")
    return _picture(figure, "Reduction: share of the sample's variance that phi keeps.")


def tsne_figure(name: str, layout: Layout) -> Picture:
    """The sampled embeddings on a plane."""
    figure, axes = plt.subplots(figsize=(6, 5))
    for sensor, points in layout.items():
        x, y = np.transpose(points)
        axes.scatter(x, y, s=6, label=sensor)
    axes.set(xticks=[], yticks=[])
    axes.legend(markerscale=2)
    return _picture(figure, f"Teacher embeddings of the sample {name} by t-SNE: a picture, not the reduction.")


def _picture(figure: Figure, caption: str) -> Picture:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    # The XML declaration and the document type have no place within a page.
    svg = buffer.getvalue()
    return Picture(caption, svg[svg.index("<svg") :])
