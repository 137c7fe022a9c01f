"""One tab of the sheet, brought up to date with the runs: read, compare, write, until nothing differs.

People sort rows, move columns and add their own between two syncs. So columns are found by their headings and
rows by their run id in every sync, and only cells that differ are written. Google has no conditional write:
what moves in the second between reading and writing may get a value in the wrong row.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gspread
from gspread.utils import absolute_range_name, fill_gaps, rowcol_to_a1

from l3embedding.sheet.google import ATTEMPTS, SheetsBusy, SheetsError, patiently, pause
from l3embedding.sheet.rows import RUN_ID, Cell, Tab

logger = logging.getLogger(__name__)

Grid = list[list[Cell]]
Rows = Mapping[str, Mapping[str, Cell]]
"""Run id to heading to value."""

_ROUNDS = 20
"""Three are usual: the headings of a new tab, the rows, and the reading that finds nothing to do."""


@dataclass(frozen=True)
class Write:
    """A cell to be written: its place in the grid, from 0, and its value."""

    row: int
    column: int
    value: Cell


@dataclass(frozen=True)
class Plan:
    """What to write to bring a tab up to date with the runs."""

    writes: list[Write]
    """Cells that differ."""
    appends: list[list[Cell]] = field(default_factory=list)
    """Whole rows for runs that have none."""
    duplicates: list[int] = field(default_factory=list)
    """Rows, from 0, of runs that have another one above."""

    def __bool__(self) -> bool:
        return bool(self.writes or self.appends or self.duplicates)


def plan(grid: Grid, tab: Tab, rows: Rows) -> Plan:
    """Compare all cells of a tab, the headings first, with what the rows of the runs should hold.

    Missing headings are added at the right first, and by themselves: their columns are then read, not assumed.
    """
    headings = [str(value).strip() for value in grid[0]] if grid else []
    if missing := [heading for heading in tab.headings if heading not in headings]:
        # To the right also of what people have written below no heading.
        start = max((len(line) for line in grid), default=0)
        return Plan([Write(0, start + offset, heading) for offset, heading in enumerate(missing)])
    columns = {heading: headings.index(heading) for heading in tab.headings}
    # Google leaves out the empty cells at the end of a row.
    grid = fill_gaps(grid)
    found, duplicates = _find(grid, tab, rows, columns)
    todo = Plan([], [], duplicates)
    for run_id, values in rows.items():
        cells = {columns[heading]: value for heading, value in values.items()}
        if run_id in found:
            row = found[run_id]
            differing = (column for column in cells if not _same(grid[row][column], cells[column]))
            todo.writes.extend(Write(row, column, cells[column]) for column in differing)
        else:
            todo.appends.append([cells.get(column, "") for column in range(max(columns.values()) + 1)])
    return todo


def update_tab(spreadsheet: gspread.Spreadsheet, tab: Tab, rows: Rows) -> int:
    """Bring a tab up to date with the runs, verify it, and return how many cells and rows were written.

    Raises
    ------
    SheetsBusy
        The service does not answer, or the tab changes all the time; what was written stays.
    SheetsError
        It refuses.
    """
    name = absolute_range_name(tab.name)
    n_written, failures = 0, 0
    for _ in range(_ROUNDS):
        todo = plan(patiently(lambda: _read(spreadsheet, tab, name)), tab, rows)
        if not todo:
            return n_written
        try:
            _send(spreadsheet, tab, name, todo)
            n_written += len(todo.writes) + len(todo.appends)
        except SheetsBusy as error:
            # Written or not: a request that timed out may still be carried out. The next reading shows.
            if failures >= ATTEMPTS:
                raise
            pause(failures, error)
            failures += 1
    raise SheetsBusy(f"{tab.name} changes all the time; try again later.")


def _find(grid: Grid, tab: Tab, rows: Rows, columns: Mapping[str, int]) -> tuple[dict[str, int], list[int]]:
    """Find the rows of the runs, by run id or, for rows without one, by folder; and rows that duplicate another."""
    found: dict[str, int] = {}
    unclaimed: dict[Cell, int] = {}
    duplicates = []
    for row, line in enumerate(grid[1:], start=1):
        run_id, place = line[columns[RUN_ID]], line[columns[tab.place]]
        if run_id in rows:
            if run_id in found:
                duplicates.append(row)
            found.setdefault(str(run_id), row)
        elif run_id == "" and place != "":
            # The last of several: the folder's latest run is the one without an id.
            unclaimed[place] = row
    for run_id, values in rows.items():
        if run_id not in found and values[tab.place] in unclaimed:
            found[run_id] = unclaimed.pop(values[tab.place])
    return found, duplicates


def _read(spreadsheet: gspread.Spreadsheet, tab: Tab, name: str) -> Grid:
    try:
        answer = spreadsheet.values_get(name, params={"valueRenderOption": "UNFORMATTED_VALUE"})
    except SheetsError as error:
        # The message for a tab that does not exist.
        if "Unable to parse range" not in str(error):
            raise
        logger.info("the sheet has no tab %s yet; adding it", tab.name)
        try:
            spreadsheet.add_worksheet(tab.name, rows=1000, cols=len(tab.headings))
        except SheetsError as error:
            # Another job may have added it meanwhile.
            if "already exists" not in str(error):
                raise
        return []
    return answer.get("values", [])


def _send(spreadsheet: gspread.Spreadsheet, tab: Tab, name: str, todo: Plan) -> None:
    if todo.duplicates:
        # One at a time, each right after a reading, since row numbers shift.
        logger.info("%s, row %d duplicates another row of its run; deleting it", tab.name, todo.duplicates[-1] + 1)
        spreadsheet.worksheet(tab.name).delete_rows(todo.duplicates[-1] + 1)
        return
    if todo.writes:
        columns = max(write.column for write in todo.writes) + 1
        if todo.writes[0].row == 0 and (worksheet := spreadsheet.worksheet(tab.name)).col_count < columns:
            worksheet.add_cols(columns - worksheet.col_count)
        data = [
            {"range": f"{name}!{rowcol_to_a1(write.row + 1, write.column + 1)}", "values": [[write.value]]}
            for write in todo.writes
        ]
        spreadsheet.values_batch_update({"valueInputOption": "RAW", "data": data})
    if todo.appends:
        # Without these two, Google looks for a table and may shift columns.
        placement: Any = {"valueInputOption": "RAW", "insertDataOption": "INSERT_ROWS"}
        spreadsheet.values_append(f"{name}!A1", placement, {"values": todo.appends})


def _same(one: Any, other: Any) -> bool:
    """Compare cells as the sheet shows them: 1 is 1.0, but neither TRUE nor the text '1'."""
    return one == other and all(isinstance(one, kind) == isinstance(other, kind) for kind in (bool, str))
