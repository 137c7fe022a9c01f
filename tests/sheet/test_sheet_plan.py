"""What a tab needs, and what must be put back: decided on grids, without a service."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from l3embedding.sheet.rows import Tab
from l3embedding.sheet.tab import Write, apply, damage, plan

TAB = Tab("t", ("User", "Dir", "Loss"), ("Run ID", "Status"), "Dir")
HEADINGS = list(TAB.headings)


def _row(run_id, place="/a", loss=1.0):
    return {"User": "ada", "Dir": place, "Loss": loss, "Run ID": run_id, "Status": "running"}


def test_a_new_tab_gets_the_headings_in_order_and_nothing_else_first():
    todo = plan([], TAB, {"1": _row("1")})
    assert apply([], todo.writes) == [HEADINGS]
    assert not todo.appends


def test_an_old_tab_gets_ours_at_the_right_of_all_that_anybody_wrote():
    grid = [["Dir", "User", "note", "Loss"], ["/a", "ada", "mine", 1.0, "", "a remark"]]
    todo = plan(grid, TAB, {})
    assert todo.writes == [Write(0, 6, "Run ID"), Write(0, 7, "Status")]


def test_columns_are_found_by_their_headings_wherever_they_stand():
    grid = [["Status", "Loss", "note", "Run ID", "Dir", "User"], ["running", 5.0, "mine", "1", "/a", "ada"]]
    assert plan(grid, TAB, {"1": _row("1")}).writes == [Write(1, 1, 1.0)]


def test_only_what_differs_is_written_and_nothing_the_second_time():
    grid = [HEADINGS, ["ada", "/a", 2.0, "1", "running"]]
    todo = plan(grid, TAB, {"1": _row("1")})
    assert todo.writes == [Write(1, 2, 1.0)]
    assert not plan(apply(grid, todo.writes), TAB, {"1": _row("1")})


def test_a_row_without_an_id_is_found_by_its_folder_and_kept():
    grid = [HEADINGS[:3], ["bob", "/a", 2.0], ["ada", "/b", 3.0]]
    grid = apply(grid, plan(grid, TAB, {}).writes)
    todo = plan(grid, TAB, {"1": _row("1", "/b", 4.0)})
    assert {write.row for write in todo.writes} == {2}
    assert not todo.appends


def test_a_run_that_is_not_there_is_appended_once():
    grid = [HEADINGS, ["bob", "/z", 2.0, "9", "running"]]
    todo = plan(grid, TAB, {"1": _row("1")})
    assert todo.appends == [["ada", "/a", 1.0, "1", "running"]]
    assert not todo.writes


def test_a_doubled_row_is_noticed():
    line = ["ada", "/a", 1.0, "1", "running"]
    assert plan([HEADINGS, line, ["bob"], line], TAB, {"1": _row("1")}).doubled == [3]


RUNS = st.dictionaries(st.sampled_from("abcdef"), st.floats(-9, 9), max_size=6)


@given(ours=RUNS, theirs=st.integers(0, 4), order=st.permutations(range(5)))
def test_applying_a_plan_leaves_nothing_to_do_and_others_rows_as_they_were(ours, theirs, order):
    headings = [HEADINGS[index] for index in order]
    others = [[f"{name}-{row}" for name in headings] for row in range(theirs)]
    rows = {run: _row(run, f"/{run}", loss) for run, loss in ours.items()}
    grid = [headings, *others]
    todo = plan(grid, TAB, rows)
    after = apply(grid, todo.writes) + todo.appends
    assert not plan(after, TAB, rows)
    assert after[1 : 1 + theirs] == others


@given(seed=st.integers(0, 10_000), n=st.integers(1, 6), insert=st.integers(0, 6), sort=st.booleans())
def test_what_moved_while_it_was_written_is_put_back(seed, n, insert, sort):
    """Any order of rows and one column anywhere, between the look and the write."""
    rng = random.Random(seed)
    before = [[*HEADINGS, "note"]]
    before += [[f"user{row}", f"/{row}", float(row), f"{row}", "running", f"remark {row}"] for row in range(n)]
    target = rng.randrange(n)
    rows = {f"{target}": {**_row(f"{target}", f"/{target}", 99.0), "User": f"user{target}", "Status": "finished"}}
    writes = plan(before, TAB, rows).writes
    moved = [list(line) for line in before]
    if sort:
        tail = moved[1:]
        rng.shuffle(tail)
        moved[1:] = tail
    for index, line in enumerate(moved):
        line.insert(insert, "theirs" if index == 0 else "")
    now = apply(moved, writes)
    ideal, written = before, {write.value for write in writes}
    for _ in range(6):
        if sort and rng.random() < 0.5:
            now[1:] = rng.sample(now[1:], len(now) - 1)
        back = damage(ideal, written, now, rows)
        todo = back or plan(now, TAB, rows).writes
        if not todo:
            break
        ideal = apply(now, back)
        written |= {write.value for write in todo}
        now = apply(now, todo)
    expected = [list(line) for line in moved]
    for line in expected[1:]:
        if line[expected[0].index("Run ID")] == f"{target}":
            line[expected[0].index("Loss")] = 99.0
            line[expected[0].index("Status")] = "finished"
    assert now[0] == expected[0]
    assert sorted(now[1:], key=str) == sorted(expected[1:], key=str)


def test_a_heading_that_ours_was_written_over_is_put_back():
    before = [["User", "Dir", "Loss"], ["ada", "/a", 1.0]]
    writes = plan(before, TAB, {}).writes
    moved = [["theirs", "User", "Dir", "Loss"], ["", "ada", "/a", 1.0]]
    now = apply(moved, writes)
    assert "Loss" not in now[0]
    now = apply(now, damage(before, {write.value for write in writes}, now, {}))
    assert now[0][3] == "Loss"
