"""The report as files: the results as CSV, tables in Markdown and JSON, and one self-contained page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import jinja2

from l3embedding.report import paper
from l3embedding.report.collect import Report, caveats
from l3embedding.report.figures import Layout, all_figures
from l3embedding.report.tables import all_tables, summary
from l3embedding.utils.files import write_json, write_text


def write_report(report: Report, title: str, output_dir: Path, tsne: Mapping[str, Layout] | None = None) -> None:
    """Write `results.csv`, `tables.md`, `tables.json` and `report.html`.

    `tsne` maps a run of stage 01 to its layout, from `l3embedding.report.figures.tsne_layout`.
    """
    write_text(output_dir / "results.csv", report.results.to_csv(index=False))
    tables = all_tables(report)
    sentences = [*summary(report), *_remarks(report)]
    text = "\n".join([f"# {title}", "", *(f"{sentence}\n" for sentence in sentences)])
    write_text(output_dir / "tables.md", text + "\n" + "\n".join(table.markdown() for table in tables))
    write_json(output_dir / "tables.json", [vars(table) for table in tables])
    loader = jinja2.PackageLoader("l3embedding.report", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    here = output_dir.resolve()
    page = environment.get_template("page.html.j2").render(
        title=title,
        caveats=caveats(report.results),
        sentences=sentences,
        tables=tables,
        pictures=all_figures(report, tsne),
        skipped=report.skipped,
        runs=report.runs,
        links={run.name: quote(os.path.relpath(run.folder.resolve(), here)) + "/" for run in report.runs},
        as_json=lambda value: json.dumps(value, indent=2, default=str),
        citation=paper.CITATION,
        doi=paper.DOI,
    )
    write_text(output_dir / "report.html", page)


def _remarks(report: Report) -> list[str]:
    remarks = [f"{run.stage} is unfinished ({run.folder}); its results are missing." for run in report.unfinished]
    remarks += [
        f"{run.name} is left out: its embeddings were deleted, or are being recomputed." for run in report.orphans
    ]
    if report.skipped:
        remarks.append(f"{len(report.skipped)} recordings were skipped; the page lists them with the reasons.")
    return remarks
