"""One tab of the sheet, brought up to the runs: read, compare, write, and read again until nothing differs.

People sort rows and insert columns meanwhile, and Google has no write that is conditional on what stands
there. So a write holds the cells that changed and nothing else, every write is followed by a look, and
what landed in a row or column that had moved is put back.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gspread
from gspread.utils import absolute_range_name, rowcol_to_a1

from l3embedding.sheet.google import ATTEMPTS, SheetsBusy, SheetsError, patiently, pause
from l3embedding.sheet.rows import RUN_ID, Cell, Tab

logger = logging.getLogger(__name__)

Grid = list[list[Cell]]
Rows = Mapping[str, Mapping[str, Cell]]
"""Run id to heading to value."""

_ROUNDS = 20


@dataclass(frozen=True)
class Write:
    """A cell to be written: its place in the grid from 0, its value, and the heading that it is meant for."""

    row: int
    column: int
    value: Cell


@dataclass(frozen=True)
class Plan:
    """What it takes to bring a tab up to the runs.

    Attributes
    ----------
    writes
        Cells that differ.
    appends
        Whole rows for runs that have none.
    doubled
        Rows, from 0, of runs that have another one above.
    """

    writes: list[Write] = field(default_factory=list)
    appends: list[list[Cell]] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.writes or self.appends or self.doubled)


def plan(grid: Grid, tab: Tab, rows: Rows) -> Plan:
    """Compare a tab with the runs.

    Headings that are missing are added at the right, and nothing else before they stand: where they
    come to stand is then read, not assumed.

    Parameters
    ----------
    grid
        All cells of the tab, the headings first.
    tab
        Which one it is.
    rows
        What the rows of the runs shall say.
    """
    headings = [str(value).strip() for value in grid[0]] if grid else []
    if missing := [heading for heading in tab.headings if heading not in headings]:
        # Whatever a person has written below an empty heading stays clear of ours.
        start = max((len(line) for line in grid), default=0)
        return Plan([Write(0, start + offset, heading) for offset, heading in enumerate(missing)])
    columns = {heading: headings.index(heading) for heading in tab.headings}
    found, doubled = _find(grid, tab, rows, columns)
    writes, appends = [], []
    for run_id, values in rows.items():
        if run_id in found:
            for heading, value in values.items():
                if not _same(_at(grid, found[run_id], columns[heading]), value):
                    writes.append(Write(found[run_id], columns[heading], value))
        else:
            line: list[Cell] = [""] * (max(columns.values()) + 1)
            for heading, value in values.items():
                line[columns[heading]] = value
            appends.append(line)
    return Plan(writes, appends, doubled)


def damage(ideal: Grid, written: Collection[Cell], now: Grid, rows: Rows) -> list[Write]:
    """Find what writes of ours did to cells of others, because rows or columns moved before they arrived.

    Such a cell holds a value that we wrote, and another one before. Rows are recognised by the rest of
    their content, columns by their headings, wherever they are now.

    Parameters
    ----------
    ideal
        The grid as it should be, but for the cells of the runs.
    written
        All values that were written.
    now
        The grid as it is.
    rows
        The runs, whose own cells `plan` takes care of.

    Returns
    -------
    The cells to be put back, with what stood there.
    """
    if not ideal or not now or not written:
        return []
    back = _lost_headings(ideal[0], written, now[0])
    columns = {name: (ideal[0].index(name), now[0].index(name)) for name in ideal[0] if name != "" and name in now[0]}
    added = [column for column, name in enumerate(now[0]) if name not in columns and name not in written]
    for before, row in _changed_rows(ideal, now, list(columns.values())):
        run_id = _at(now, row, columns[RUN_ID][1]) if RUN_ID in columns else ""
        is_run = run_id in rows and run_id == _at(ideal, before, columns[RUN_ID][0])
        headings = rows[str(run_id)] if is_run else ()
        for name, (old, new) in columns.items():
            stood, stands = _at(ideal, before, old), _at(now, row, new)
            if name not in headings and not _same(stood, stands) and stands in written:
                back.append(Write(row, new, stood))
        back += [Write(row, column, "") for column in added if _at(now, row, column) in written]
    return back


def _changed_rows(ideal: Grid, now: Grid, columns: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pair the rows that are no longer what they were with what they were, by most of their cells."""
    left: dict[tuple[Cell, ...], list[int]] = {}
    for row in range(1, len(ideal)):
        left.setdefault(tuple(_at(ideal, row, old) for old, _ in columns), []).append(row)
    changed = []
    for row in range(1, len(now)):
        content = tuple(_at(now, row, new) for _, new in columns)
        if left.get(content):
            left[content].pop()
        else:
            changed.append((row, content))
    before = [(row, content) for content, same in left.items() for row in same]
    pairs = []
    for row, content in changed:
        alike = {old: sum(map(_same, content, stood)) for old, stood in before}
        best = max(alike, key=lambda old: alike[old], default=None)
        if best is not None and 2 * alike[best] > len(columns):
            pairs.append((best, row))
            before = [each for each in before if each[0] != best]
    return pairs


def _lost_headings(before: Sequence[Cell], written: Collection[Cell], now: Sequence[Cell]) -> list[Write]:
    """Headings that ours were written over, because a column was inserted to the left of theirs."""
    lost = [heading for heading in before if heading != "" and heading not in now]
    over = [column for column, heading in enumerate(now) if heading not in before and heading in written]
    return [Write(0, column, heading) for column, heading in zip(over, lost, strict=False)]


def update_tab(spreadsheet: gspread.Spreadsheet, tab: Tab, rows: Rows) -> int:
    """Bring a tab up to the runs, and see that it is.

    Returns
    -------
    How many cells and rows were written.

    Raises
    ------
    SheetsBusy
        The service is, or people move the rows faster than they can be written; what was written stays.
    SheetsError
        It refuses.
    """
    name = absolute_range_name(tab.name)
    n_written, failures = 0, 0
    ideal: Grid = []
    written: set[Cell] = set()
    for _ in range(_ROUNDS):
        grid = patiently(lambda: _read(spreadsheet, tab, name))
        todo = plan(grid, tab, rows)
        if back := damage(ideal, written, grid, rows):
            logger.info("%s was rearranged while it was written; %d cells are put back", tab.name, len(back))
            todo = Plan(back)
        if not todo:
            return n_written
        ideal = apply(grid, back)
        # Empty cells are everywhere, and prove nothing.
        written |= {write.value for write in todo.writes} - {""}
        try:
            _send(spreadsheet, tab, name, todo)
            n_written += len(todo.writes) + len(todo.appends)
        except SheetsBusy as error:
            # It may be done or not: the next look will tell.
            if failures >= ATTEMPTS:
                raise
            pause(failures, error)
            failures += 1
    raise SheetsBusy(f"{tab.name} is rearranged all the time; try again later.")


def apply(grid: Grid, writes: Sequence[Write]) -> Grid:
    """The grid after writes."""
    grid = [list(line) for line in grid]
    for write in writes:
        grid += [[] for _ in range(write.row + 1 - len(grid))]
        line = grid[write.row]
        line += [""] * (write.column + 1 - len(line))
        line[write.column] = write.value
    return grid


def _find(grid: Grid, tab: Tab, rows: Rows, columns: Mapping[str, int]) -> tuple[dict[str, int], list[int]]:
    """Rows of the runs: by run id, else by place for rows without an id; and the rows that are doubled."""
    found: dict[str, int] = {}
    doubled: list[int] = []
    unclaimed: dict[Cell, int] = {}
    for row in range(1, len(grid)):
        run_id, place = (_at(grid, row, columns[heading]) for heading in (RUN_ID, tab.place))
        if run_id in rows:
            if run_id in found:
                doubled.append(row)
            found.setdefault(str(run_id), row)
        elif run_id == "" and place != "":
            # The last one: a folder that was used twice was used for ours last.
            unclaimed[place] = row
    for run_id, values in rows.items():
        if run_id not in found and values[tab.place] in unclaimed:
            found[run_id] = unclaimed.pop(values[tab.place])
    return found, doubled


def _read(spreadsheet: gspread.Spreadsheet, tab: Tab, name: str) -> Grid:
    try:
        answer = spreadsheet.values_get(name, params={"valueRenderOption": "UNFORMATTED_VALUE"})
    except SheetsBusy:
        raise
    except SheetsError as error:
        if "Unable to parse range" not in str(error):
            raise
        logger.info("the sheet has no tab %s yet; it is made", tab.name)
        _add_tab(spreadsheet, tab)
        return []
    return answer.get("values", [])


def _add_tab(spreadsheet: gspread.Spreadsheet, tab: Tab) -> None:
    try:
        spreadsheet.add_worksheet(tab.name, rows=1000, cols=len(tab.headings))
    except SheetsBusy:
        raise
    except SheetsError as error:
        if "already exists" not in str(error):
            raise


def _send(spreadsheet: gspread.Spreadsheet, tab: Tab, name: str, todo: Plan) -> None:
    if todo.doubled:
        _delete_row(spreadsheet, tab, todo.doubled[-1])
        return
    if todo.writes:
        if todo.writes[0].row == 0:
            _make_room(spreadsheet, tab, max(write.column for write in todo.writes) + 1)
        data = [
            {"range": f"{name}!{rowcol_to_a1(first.row + 1, first.column + 1)}", "values": [values]}
            for first, values in _stretches(todo.writes)
        ]
        spreadsheet.values_batch_update({"valueInputOption": "RAW", "data": data})
    if todo.appends:
        # Without these two, Google looks for a table and may shift columns.
        params = {"valueInputOption": "RAW", "insertDataOption": "INSERT_ROWS"}
        spreadsheet.values_append(f"{name}!A1", params, {"values": todo.appends})


def _make_room(spreadsheet: gspread.Spreadsheet, tab: Tab, columns: int) -> None:
    worksheet = spreadsheet.worksheet(tab.name)
    if worksheet.col_count < columns:
        worksheet.add_cols(columns - worksheet.col_count)


def _delete_row(spreadsheet: gspread.Spreadsheet, tab: Tab, row: int) -> None:
    """Delete a row that another one doubles: one at a time, each right after a look."""
    logger.info("%s, row %d doubles another row of its run, and is removed", tab.name, row + 1)
    spreadsheet.worksheet(tab.name).delete_rows(row + 1)


def _stretches(writes: Sequence[Write]) -> list[tuple[Write, list[Cell]]]:
    """Join neighbours of one row."""
    joined: list[tuple[Write, list[Cell]]] = []
    for write in sorted(writes, key=lambda each: (each.row, each.column)):
        if joined:
            first, values = joined[-1]
            if (first.row, first.column + len(values)) == (write.row, write.column):
                values.append(write.value)
                continue
        joined.append((write, [write.value]))
    return joined


def _at(grid: Grid, row: int, column: int) -> Cell:
    """A cell; Google leaves out the empty ones at the end of a row."""
    return grid[row][column] if row < len(grid) and column < len(grid[row]) else ""


def _same(one: Any, other: Any) -> bool:
    """Compare cells as the sheet shows them: 1 is 1.0, but neither TRUE nor the text '1'."""
    return one == other and all(isinstance(one, kind) == isinstance(other, kind) for kind in (bool, str))
