"""What is written to a tab: decided on grids, without a service."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l3embedding.sheet.rows import Tab
from l3embedding.sheet.tab import Write, plan

TAB = Tab("t", dict.fromkeys(("User", "Dir", "Loss"), ""), dict.fromkeys(("Run ID", "Status"), ""), "Dir")
HEADINGS = list(TAB.headings)


def _apply(grid, writes):
    grid = [list(line) for line in grid]
    for write in writes:
        grid += [[] for _ in range(write.row + 1 - len(grid))]
        grid[write.row] += [""] * (write.column + 1 - len(grid[write.row]))
        grid[write.row][write.column] = write.value
    return grid


def _row(run_id, place="/a", loss=1.0):
    return {"User": "ada", "Dir": place, "Loss": loss, "Run ID": run_id, "Status": "running"}


def test_a_new_tab_gets_the_headings_in_order_and_nothing_else_first():
    todo = plan([], TAB, {"1": _row("1")})
    assert _apply([], todo.writes) == [HEADINGS]
    assert not todo.appends


def test_an_old_tab_gets_ours_at_the_right_of_all_that_anybody_wrote():
    grid = [["Dir", "User", "note", "Loss"], ["/a", "ada", "mine", 1.0, "", "a remark"]]
    todo = plan(grid, TAB, {})
    assert todo.writes == [Write(0, 6, "Run ID"), Write(0, 7, "Status")]


def test_columns_are_found_by_their_headings_wherever_they_are():
    grid = [["Status", "Loss", "note", "Run ID", "Dir", "User"], ["running", 5.0, "mine", "1", "/a", "ada"]]
    assert plan(grid, TAB, {"1": _row("1")}).writes == [Write(1, 1, 1.0)]


def test_only_what_differs_is_written_and_nothing_the_second_time():
    grid = [HEADINGS, ["ada", "/a", 2.0, "1", "running"]]
    todo = plan(grid, TAB, {"1": _row("1")})
    assert todo.writes == [Write(1, 2, 1.0)]
    assert not plan(_apply(grid, todo.writes), TAB, {"1": _row("1")})


def test_a_row_without_an_id_is_found_by_its_folder_and_kept():
    grid = [HEADINGS[:3], ["bob", "/a", 2.0], ["ada", "/b", 3.0]]
    grid = _apply(grid, plan(grid, TAB, {}).writes)
    todo = plan(grid, TAB, {"1": _row("1", "/b", 4.0)})
    assert {write.row for write in todo.writes} == {2}
    assert not todo.appends


def test_a_run_without_a_row_is_appended_once():
    grid = [HEADINGS, ["bob", "/z", 2.0, "9", "running"]]
    todo = plan(grid, TAB, {"1": _row("1")})
    assert todo.appends == [["ada", "/a", 1.0, "1", "running"]]
    assert not todo.writes


def test_a_duplicate_row_is_found():
    line = ["ada", "/a", 1.0, "1", "running"]
    assert plan([HEADINGS, line, ["bob"], line], TAB, {"1": _row("1")}).duplicates == [3]


RUNS = st.dictionaries(st.sampled_from("abcdef"), st.floats(-9, 9), max_size=6)


@given(ours=RUNS, theirs=st.integers(0, 4), order=st.permutations(range(5)))
def test_applying_a_plan_leaves_nothing_to_do_and_others_rows_as_they_were(ours, theirs, order):
    headings = [HEADINGS[index] for index in order]
    others = [[f"{name}-{row}" for name in headings] for row in range(theirs)]
    rows = {run: _row(run, f"/{run}", loss) for run, loss in ours.items()}
    grid = [headings, *others]
    todo = plan(grid, TAB, rows)
    after = _apply(grid, todo.writes) + todo.appends
    assert not plan(after, TAB, rows)
    assert after[1 : 1 + theirs] == others
