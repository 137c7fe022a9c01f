"""A stage's program: its flags are the settings, and it refuses what the YAML refuses."""

from __future__ import annotations

import pytest

from l3embedding.cli.program import Job, run_stage, stage_arguments, stage_parser
from l3embedding.jobs.stages import STAGES
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json

TRAIN = STAGES["03-train-approx-embedding"]
CLASSIFY = STAGES["06-train-classifier"]


def _arguments(stage, *flags):
    required = [word for each in stage.inputs if each.required for word in (f"--{each.name.replace('_', '-')}", "x")]
    parsed = vars(stage_parser(stage).parse_args(["--output-dir", "out", *required, *flags]))
    return stage_arguments(stage, {name: parsed[name] for name in stage.fields if name in parsed})


def test_a_flag_is_a_setting_and_may_be_short_where_no_other_has_its_name():
    for flags in (("--student.dim", "64", "--distillation.patience", "3"), ("--dim", "64", "--patience", "3")):
        arguments = _arguments(TRAIN, *flags)
        assert (arguments["student"].dim, arguments["distillation"].patience) == (64, 3)
    with pytest.raises(SystemExit):  # of the classifier, or of the CNN?
        _arguments(CLASSIFY, "--epochs", "3")


def test_the_defaults_of_a_program_are_those_of_an_experiment():
    for stage in STAGES.values():
        assert _arguments(stage) == stage.arguments({})


@pytest.mark.parametrize(
    ("stage", "flags"),
    [
        (TRAIN, ("--distillation.loss", "mae")),
        (TRAIN, ("--reduction.mode", "pac")),
        (STAGES["01-sample-teacher-embeddings"], ("--sample.method", "dp")),
        (STAGES["05-generate-embedding-samples"], ("--representation", "studnet")),
        (TRAIN, ("--distillation.epochs", "-1")),
        (CLASSIFY, ("--dataset.name", "us9k")),
    ],
)
def test_an_unknown_name_or_value_is_refused(stage, flags, capsys):
    with pytest.raises(SystemExit) as ended:
        _arguments(stage, *flags)
    assert ended.value.code == 2
    assert flags[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stage", "flags", "message"),
    [
        (
            TRAIN,
            ("--student.filters", "2", "4", "--student.dim", "8"),
            "student.filters end in 4, but student.dim is 8",
        ),
        (TRAIN, ("--student.dim", "33"), "none of the paper's"),
        (CLASSIFY, ("--classifier.fine-tune", "--classifier.pca"), "pca must be false"),
        (CLASSIFY, ("--representation", "logmel-cnn"), "needs a data set with folds"),
        (CLASSIFY, ("--cnn.supervision", "both"), "is for logmel-cnn"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_as_in_an_experiment(stage, flags, message):
    with pytest.raises(InputError, match=message):
        _arguments(stage, *flags)


def test_the_record_holds_what_makes_a_difference_and_nothing_else(tmp_path):
    (tmp_path / "shards").mkdir()
    seen = []

    def work(job: Job, sample, recordings, random_state):
        seen.append((sample.size, recordings.time_zone, random_state))
        return {"n_sampled": 3}

    flags = ["--audio-dir", str(tmp_path / "shards"), "--output-dir", str(tmp_path / "out"), "--size", "3"]
    assert run_stage("01-sample-teacher-embeddings", work, lambda parts, folder: parts[0], flags) == 0
    assert seen == [(3, "UTC", 20180216)]
    record = read_json(tmp_path / "out" / "done.json")
    assert record["parameters"]["sample"]["size"] == 3
    assert record["parameters"]["recordings"] == {"time_zone": "UTC"}
    # How the k-DPP's chain is run makes no difference to an exact draw.
    assert "sample.steps" not in record["signed"] and record["signed"]["sample.size"] == 3


def test_values_that_the_command_line_does_not_give_may_come_from_the_inputs(tmp_path, capsys):
    def work(job: Job, student, **settings):
        return {"dim": student.dim}

    flags = ["--audio-dir", str(tmp_path), "--output-dir", str(tmp_path / "out")]
    assert run_stage(TRAIN.name, work, argv=flags, defaults=lambda inputs: {"student.dim": 64}) == 0
    assert read_json(tmp_path / "out" / "done.json")["results"] == {"dim": 64}
    assert run_stage(TRAIN.name, work, argv=[*flags, "--dim", "7"]) == 2
    assert "error: student.dim: 7 is none of the paper's" in capsys.readouterr().err
