"""The report as files: tables in Markdown, and one page that needs nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2

from l3embedding.report import paper
from l3embedding.report.collect import Report
from l3embedding.report.figures import all_figures
from l3embedding.report.tables import all_tables, summary
from l3embedding.utils.files import write_json, write_text

TABLES = "tables.md"
PAGE = "report.html"


def write_report(report: Report, title: str, output_dir: Path) -> None:
    """Write `tables.md`, `tables.json` and `report.html`.

    Parameters
    ----------
    report
        From `l3embedding.report.collect.collect`.
    title
        Name of the experiment.
    output_dir
        Where they go.
    """
    tables = all_tables(report)
    sentences = [text for text in (summary(report), *_remarks(report)) if text]
    text = "\n".join([f"# {title}", "", *(f"{sentence}\n" for sentence in sentences)])
    write_text(output_dir / TABLES, text + "\n" + "\n".join(table.markdown() for table in tables))
    write_json(output_dir / "tables.json", [vars(table) for table in tables])
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("l3embedding.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        caveats=report.caveats,
        sentences=sentences,
        tables=tables,
        pictures=all_figures(report),
        skipped=report.skipped,
        runs=report.runs,
        as_json=lambda value: json.dumps(value, indent=2, default=str),
        citation=paper.CITATION,
        doi=paper.DOI,
    )
    write_text(output_dir / PAGE, page)


def _remarks(report: Report) -> list[str]:
    remarks = [f"{run.stage} is unfinished ({run.folder}); what it would show is missing." for run in report.unfinished]
    if report.skipped:
        remarks.append(f"{len(report.skipped)} recordings were skipped; the page says which and why.")
    return remarks
