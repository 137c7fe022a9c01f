"""Experiment files: typed, validated, swept."""

from __future__ import annotations

import pytest

from l3embedding.jobs.experiment import Experiment, read_experiment
from l3embedding.utils.errors import InputError
from tests.conftest import REPOSITORY

MINIMAL = "audio_root: /data/audio\ndataset_root: /data/sonyc\n"


@pytest.fixture
def experiment_file(tmp_path):
    path = tmp_path / "street.yaml"
    path.write_text(MINIMAL)
    return path


def test_the_name_is_that_of_the_file_and_the_rest_are_defaults(experiment_file):
    axes, (experiment,) = read_experiment(experiment_file)
    assert axes == ()
    assert experiment == Experiment(name="street", audio_root="/data/audio", dataset_root="/data/sonyc")


def test_the_defaults_are_the_papers():
    experiment = Experiment(name="x", synthetic_street=True)
    assert (experiment.asr, experiment.num_mels, experiment.num_dft, experiment.hop_len) == (8000, 64, 1024, 160)
    assert (experiment.sampling, experiment.sample_size, experiment.timescale) == ("dpp", 500_000, "day")
    assert (experiment.patience, experiment.min_delta, experiment.plateau_patience) == (10, 1e-4, 5)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sampling=dp", "sampling: 'dp' is not one of random, spl, dpp_div, dpp; did you mean dpp?"),
        ("samplin=dpp", "'samplin' is not a key of an experiment; did you mean 'sampling'?"),
        ("qqq=1", "the keys are name, random_state"),
        ("num_epochs=-3", "num_epochs: -3 is wrong: input should be greater than 0"),
        ("num_epochs=many", "num_epochs: 'many' is wrong: input should be a valid integer"),
        ("student=33", "student: 33 is none of the paper's .512, 256, 128, 64.; give student_filters"),
        ("student_filters=[8, 16]", "student_filters end in 16, but student is 128"),
        ("representations=[teacher, studnet]", "'studnet' is not one of .* did you mean student?"),
        ("audio_root=null", "audio_root is missing"),
        ("approx_mode=mse", "representations name 'reduced'"),
        ("representations=[logmel-cnn]", "representations name 'logmel-cnn', which needs a data set with folds"),
        ("supervision=both", "supervision: both is that of logmel-cnn, which representations do not name"),
        ("student=[]", "the sweep over student is empty"),
        ("dataset_root=${nowhere}", "refers to 'nowhere'"),
        ("num_epochs", "write KEY=VALUE"),
        ("num_epochs=[", "not valid YAML"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(experiment_file, override, said):
    with pytest.raises(InputError, match=said):
        read_experiment(experiment_file, [override])


def test_every_mistake_is_said_at_once(experiment_file):
    with pytest.raises(InputError, match="(?s)num_epochs.*sampling|sampling.*num_epochs"):
        read_experiment(experiment_file, ["num_epochs=0", "sampling=x"])


def test_a_list_for_a_single_value_is_a_sweep_and_for_a_list_is_not(experiment_file):
    sweep = read_experiment(experiment_file, ["sampling=[dpp, random]", "student=[128, 64]", "classifier_seeds=[0, 1]"])
    assert sweep.axes == ("sampling", "student")
    assert [(each.sampling, each.student) for each in sweep.experiments] == [
        ("dpp", 128),
        ("dpp", 64),
        ("random", 128),
        ("random", 64),
    ]
    assert sweep.experiments[0].classifier_seeds == (0, 1)


def test_for_a_key_that_takes_a_list_a_list_of_lists_is_a_sweep(experiment_file):
    sweep = read_experiment(experiment_file, ["student_filters=[[2, 128], [4, 128]]", "classifier_seeds=[3]"])
    assert sweep.axes == ("student_filters",)
    assert [each.student_filters for each in sweep.experiments] == [(2, 128), (4, 128)]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["embedding_hop_size=0.1"], "embedding_hop_size must be as much at least"),
        (["fold_classifier=svm"], "needs class probabilities, which fold_classifier: svm has none of"),
        (["representations=[logmel-cnn, student]", "audio_root=null"], "audio_root is missing"),
    ],
)
def test_a_supervision_that_cannot_be_is_refused(experiment_file, overrides, said):
    settings = ["dataset=us8k", "representations=[logmel-cnn]", "supervision=soft_labels", "embedding_hop_size=0.5"]
    assert not read_experiment(experiment_file, settings).experiments[0].needs_upstream
    with pytest.raises(InputError, match=said):
        read_experiment(experiment_file, settings + overrides)


def test_a_value_may_refer_to_another_key(experiment_file):
    sweep = read_experiment(experiment_file, ["dataset_root=${audio_root}/clips", "audio_root=/elsewhere"])
    assert sweep.experiments[0].dataset_root == "/elsewhere/clips"


def test_exponents_are_numbers_even_where_yaml_reads_text(experiment_file):
    assert read_experiment(experiment_file, ["learning_rate=1e-5"]).experiments[0].learning_rate == 1e-5


@pytest.mark.parametrize(("text", "said"), [("- a\n", "must be a mapping"), ("a: [", "not valid YAML")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, said):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_experiment(tmp_path / "x.yaml")


def test_nothing_in_a_file_is_executed(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="not valid YAML"):
        read_experiment(path)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "experiments").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_experiment_of_the_project_is_valid(path):
    assert read_experiment(
        path, [] if "synthetic_street: true" in path.read_text() else ["audio_root=/x", "dataset_root=/y"]
    )
