"""`sea runs`: filtered and sorted by columns and by dotted parameters."""

from __future__ import annotations

import argparse

import pytest

from l3embedding.cli.runs import add_commands
from l3embedding.jobs.journal import Journal
from l3embedding.utils.errors import InputError


@pytest.fixture
def outputs(tmp_path):
    for name, dim, results in (
        ("one", 256, {"coarse": {"micro_auprc": 0.75}}),
        ("two", 64, {"accuracy": 0.625}),
        ("three", 64, {"accuracy": 0.5}),
    ):
        (tmp_path / name).mkdir()
        journal = Journal(tmp_path / name)
        journal.append("started", run_id=name, stage="06-train-classifier", parameters={"student": {"dim": dim}})
        journal.status("finished", results=results)
    return tmp_path


def _runs(capsys, *words):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    arguments = parser.parse_args(["runs", *map(str, words)])
    arguments.action(arguments)
    heading, *lines = capsys.readouterr().out.splitlines()
    return heading.split(), [line.split() for line in lines]


def test_runs_are_filtered_by_a_dotted_parameter_which_is_shown(outputs, capsys):
    heading, lines = _runs(capsys, outputs, "--where", "student.dim=64", "--sort", "accuracy")
    assert {"student.dim", "accuracy"} <= set(heading)
    # Numbers sort as numbers; and no run has a micro-AUPRC, so it has no column.
    assert [line[0] for line in lines] == ["three", "two"] and "micro_auprc" not in heading


def test_runs_are_sorted_by_a_dotted_parameter(outputs, capsys):
    heading, lines = _runs(capsys, outputs, "--sort", "student.dim")
    assert [line[0] for line in lines][-1] == "one"
    assert {"micro_auprc", "accuracy"} <= set(heading)


@pytest.mark.parametrize("words", [("--where", "dim=64"), ("--where", "student.dim"), ("--sort", "dim")])
def test_an_unknown_key_is_an_error(outputs, capsys, words):
    with pytest.raises(InputError, match="student.dim|parameter"):
        _runs(capsys, outputs, *words)
