"""The commands of `sea` about runs: list them, update the Google Sheet, check its credentials."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from l3embedding.jobs.journal import Run, find_runs
from l3embedding.settings import TrackingSettings
from l3embedding.sheet.rows import TABS, row_of, tab_of
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path

logger = logging.getLogger(__name__)

_SHOWN = ("run", "status", "stage", "started", "epoch", "best valid_loss", "micro_auprc", "accuracy", "job", "folder")


def add_commands(commands: Any) -> None:
    """Add `runs`, `sync` and `auth` to the parser of `sea`."""
    runs = commands.add_parser("runs", help="list the runs that have journals", description=list_runs.__doc__)
    runs.set_defaults(action=list_runs)
    runs.add_argument(
        "--where", metavar="KEY=VALUE", action="append", default=[], help="only these, such as student.dim=64"
    )
    runs.add_argument("--sort", metavar="KEY", default="started", help="a column, or a parameter such as student.dim")
    runs.add_argument("--show", metavar="RUN", help="everything about one run")
    runs.add_argument("--csv", metavar="DIR", nargs="?", const=".", help="write the sheet's two tabs as CSV files")
    sync = commands.add_parser("sync", help="update the Google Sheet", description=sync_sheet.__doc__)
    sync.set_defaults(action=sync_sheet)
    sync.add_argument("--follow", action="store_true", help="repeat until stopped")
    sync.add_argument("--every", metavar="S", type=float, default=30.0, help="seconds between two rounds")
    auth = commands.add_parser("auth", help="check the Google credentials", description=check_account.__doc__)
    auth.set_defaults(action=check_account)
    folders = "output folders of runs, or folders of several (default: outputs)"
    for parser in (runs, sync):
        parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path, default=[Path("outputs")], help=folders)
    for parser in (sync, auth):
        parser.add_argument("--gsheet-id", default="", help="the sheet's id, from its URL (default: $GSHEET_ID)")
        parser.add_argument("--google-dev-app-name", default="", help="its name (default: $GOOGLE_DEV_APP_NAME)")


def list_runs(arguments: argparse.Namespace) -> None:
    """List, filter and sort the runs below folders; or show one; or write the sheet's tabs as CSV."""
    runs = _find(arguments.folders)
    if arguments.csv is not None:
        _write_csv(runs, Path(arguments.csv))
        return
    if arguments.show:
        chosen = [run for run in runs if run.run_id.startswith(arguments.show)]
        if not chosen:
            raise InputError(f"No run {arguments.show!r} in {', '.join(map(str, arguments.folders))}.")
        for run in chosen:
            _show(run)
        return
    lines = [_line(run) for run in runs]
    known = {key for line in lines for key in line}
    for condition in arguments.where:
        key, equals, value = condition.partition("=")
        if not equals or key not in known:
            raise InputError(f"--where {condition}: write KEY=VALUE with a column, or a parameter such as student.dim.")
        # Values may be written as YAML has them: true, none.
        lines = [line for line in lines if str(line.get(key)).lower() == value.lower()]
    if lines and arguments.sort not in known:
        raise InputError(f"--sort {arguments.sort}: no run has it; sort by {', '.join(_SHOWN)} or a parameter.")
    lines.sort(key=lambda line: _sortable(line.get(arguments.sort)))
    asked = [arguments.sort, *(each.partition("=")[0] for each in arguments.where)]
    columns = dict.fromkeys((*_SHOWN[:-1], *asked, _SHOWN[-1]))
    print_table([{key: line.get(key) for key in columns} for line in lines])


def sync_sheet(arguments: argparse.Namespace) -> None:
    """Update the sheet's rows from the journals below folders. Unchanged rows are left alone."""
    from l3embedding.sheet.google import SheetsBusy
    from l3embedding.sheet.sync import sync_runs

    named = _sheet(arguments)
    while True:
        try:
            written = sync_runs(_find(arguments.folders), named)
            print(f"{written} cells and rows written" if written else "the sheet is up to date", flush=True)
        except SheetsBusy as error:
            if not arguments.follow:
                raise
            logger.warning("%s", error)
        if not arguments.follow:
            return
        time.sleep(arguments.every)


def check_account(arguments: argparse.Namespace) -> None:
    """Print which Google credentials are found, whose they are, and whether the sheet can be written."""
    from l3embedding.sheet.google import find_account, open_sheet, patiently

    account = find_account()
    print(f"credentials: {account.kind}, {account.path}")
    print(f"account:     {account.name}")
    if not (arguments.gsheet_id or os.environ.get("GSHEET_ID")):
        print("sheet:       none; set GSHEET_ID, or --gsheet-id")
        return
    named = _sheet(arguments)
    sheet = patiently(lambda: open_sheet(named.gsheet_id, account))
    print(f"sheet:       {sheet.title}")
    # An update without data changes nothing, but is refused to those who may only read.
    patiently(lambda: sheet.values_batch_update({"valueInputOption": "RAW", "data": []}))
    print("             can be written")
    if (name := named.google_dev_app_name) and name != sheet.title:
        print(f"             is not called {name!r}")


def print_table(lines: Sequence[dict[str, Any]]) -> None:
    """Print a table for a terminal, without its empty columns."""
    if not lines:
        print("none")
        return
    columns = [[key, *(_text(line[key]) for line in lines)] for key in lines[0]]
    columns = [column for column in columns if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _find(folders: Sequence[Path]) -> list[Run]:
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder. Name the output folder of a run, or a folder of several.")
    return find_runs(*folders)


def _line(run: Run) -> dict[str, Any]:
    losses = [epoch["valid_loss"] for epoch in run.epochs if isinstance(epoch.get("valid_loss"), float)]
    return {
        **run.parameters,
        "run": run.run_id,
        "status": run.status,
        "stage": run.stage,
        "started": run.started[:19].replace("T", " "),
        "updated": run.updated[:19].replace("T", " "),
        "epoch": run.epochs[-1]["epoch"] if run.epochs else None,
        "best valid_loss": min(losses, default=None),
        "micro_auprc": (run.results.get("coarse") or {}).get("micro_auprc"),
        "accuracy": run.results.get("accuracy"),
        "job": run.facts.get("job_id"),
        "host": run.facts.get("host"),
        "commit": run.facts.get("commit"),
        "error": run.error,
        "folder": run.folder.relative_to(Path.cwd()) if run.folder.is_relative_to(Path.cwd()) else run.folder,
    }


def _show(run: Run) -> None:
    print(f"{run.run_id}  {run.stage}  {run.status}  {run.started} to {run.updated}")
    if run.error:
        print(f"error: {run.error}")
    print(json.dumps({**run.facts, "results": run.results}, indent=2, default=str))
    print_table([dict(epoch) for epoch in run.epochs] or [{"epochs": "none"}])


def _write_csv(runs: Sequence[Run], folder: Path) -> None:
    for tab in TABS:
        path = folder / f"{tab.name}.csv"
        rows = [row_of(run) for run in runs if tab_of(run) is tab]
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, tab.columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{path}: {len(rows)} runs")


def _sheet(arguments: argparse.Namespace) -> TrackingSettings:
    """The sheet that flags or environment variables name."""
    gsheet_id = arguments.gsheet_id or os.environ.get("GSHEET_ID", "")
    if not gsheet_id:
        raise InputError("Which sheet? Set GSHEET_ID, or --gsheet-id: the part of its URL between /d/ and /edit.")
    name = arguments.google_dev_app_name or os.environ.get("GOOGLE_DEV_APP_NAME", "")
    return TrackingSettings(gsheet_id=gsheet_id, google_dev_app_name=name)


def _sortable(value: Any) -> tuple[int, Any]:
    """Numbers first, then texts, then missing values."""
    if value is None:
        return (2, "")
    return (0, value) if isinstance(value, (int, float)) else (1, str(value))
