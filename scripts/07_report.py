"""Stage 07: all results in one table, the paper's tables beside ours, and figures, on one page."""

from __future__ import annotations

import sys

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.report.collect import collect
from l3embedding.report.figures import Layout, tsne_layout
from l3embedding.report.page import write_report
from l3embedding.settings import ReportSettings


def report(job: Job, report: ReportSettings, random_state: int) -> Results:
    """Collect the results below the run's folder, and write them; see `l3embedding.report`."""
    collected = collect(job.inputs["run_dir"])
    layouts: dict[str, Layout] = {}
    if report.tsne_points:
        samplings = [run for run in collected.runs if run.stage == "01-sample-teacher-embeddings" and run.finished]
        for run in samplings:
            layouts[run.name] = tsne_layout(sorted(run.folder.glob("*.h5")), report.tsne_points, random_state)
    title = f"Specialized Embedding Approximation: {job.inputs['run_dir'].resolve().name}"
    write_report(collected, title, job.folder, layouts)
    return {"evaluated": sum(rows["run"].nunique() for rows in collected.datasets.values())}


if __name__ == "__main__":
    sys.exit(run_stage("07-report", report))
