"""Experiment files: sections of settings, validated and swept."""

from __future__ import annotations

import pytest

from l3embedding.jobs.experiment import FORMER, field_of, read_experiment, setting_names
from l3embedding.settings import Experiment
from l3embedding.utils.errors import InputError
from tests.conftest import REPOSITORY

MINIMAL = "recordings: {root: /data/audio}\ndataset: {root: /data/sonyc}\n"


@pytest.fixture
def experiment_file(tmp_path):
    path = tmp_path / "street.yaml"
    path.write_text(MINIMAL)
    return path


def test_the_name_is_that_of_the_file_and_the_rest_are_defaults(experiment_file):
    axes, (experiment,) = read_experiment(experiment_file)
    assert axes == ()
    assert experiment == Experiment(name="street", recordings={"root": "/data/audio"}, dataset={"root": "/data/sonyc"})


def test_a_section_may_be_given_by_its_main_field(experiment_file):
    text = "recordings: /a\nteacher: vggish\nsample: random\nreduction: pca\nstudent: 64\ndataset: {root: /b}\n"
    experiment_file.write_text(text)
    (experiment,) = read_experiment(experiment_file, ["dataset=us8k"]).experiments
    assert (experiment.recordings.root, experiment.teacher.name, experiment.sample.method) == ("/a", "vggish", "random")
    assert (experiment.student.dim, experiment.dataset.name, experiment.dataset.root) == (64, "us8k", "/b")


def test_the_dimension_follows_the_filters(experiment_file):
    (experiment,) = read_experiment(experiment_file, ["student.filters=[2, 4, 8]"]).experiments
    assert experiment.student.dim == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sample.method=dp", "sample.method: 'dp' is not one of random, spl, dpp_div, dpp; did you mean dpp?"),
        ("sample.metod=dpp", "'sample.metod' is not a setting; did you mean sample.method?"),
        ("lerning_rate=1", "did you mean distillation.learning_rate or classifier.learning_rate or cnn.learning_rate?"),
        ("teacher=[vggish, {name: a}]", "the sweep over teacher.name is"),
        ("recordings.time_zone=Mars", "recordings.time_zone: 'Mars' is not an IANA name such as Europe/Rome"),
        ("student.filters=8", "student.filters: 8 is wrong"),
        ("student.filters=[]", "student.filters"),
        ("seeds=[]", "seeds"),
        ("seeds=x", "seeds: 'x' is wrong"),
        ("dataset=us9k", "dataset.name: 'us9k' is not one of sonyc_ust, us8k, esc50, dcase2013; did you mean us8k?"),
        ("dim=3", "'dim' is not a setting; did you mean student.dim?"),
        ("patience=3", "did you mean distillation.patience or classifier.patience?"),
        ("board=3", "'board' is a section: calibration_frames"),
        ("qqq=1", "known are name, random_state"),
        ("distillation.epochs=-3", "distillation.epochs: -3 is wrong: input should be greater than 0"),
        ("distillation.epochs=many", "distillation.epochs: 'many' is wrong: input should be a valid integer"),
        ("student.dim=33", "student.dim: 33 is none of the paper's 512, 256, 128, 64; set student.filters"),
        ("student={filters: [8, 16], dim: 128}", "student.filters end in 16, but student.dim is 128"),
        ("student.fmax=5000", "student.fmax: 5000 Hz is above half of student.asr, 4000 Hz"),
        ("student.asr=16000", "set recordings.audio_rate: 16000"),
        ("representations=[teacher, studnet]", "'studnet' is not one of .* did you mean student?"),
        ("recordings.root=null", "recordings.root is missing"),
        ("dataset.root=null", "dataset.root is missing"),
        ("reduction.mode=mse", "representations name 'reduced'"),
        ("reduction.mode=umap", "set reduction.allow_pickle: true"),
        ("representations=[logmel-cnn]", "representations name 'logmel-cnn', which needs a data set with folds"),
        ("cnn.supervision=both", "cnn.supervision: both is for logmel-cnn, which representations do not name"),
        ("classifier.pca_components=4", "classifier.pca_components needs classifier.pca: true"),
        ("student.dim=[]", r"the sweep over student.dim is \[\]; it needs one or more values"),
        ("dataset.root=${nowhere}", "refers to 'nowhere'"),
        ("distillation.epochs", "write SECTION.FIELD=VALUE"),
        ("distillation.epochs=[", "not valid YAML"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(experiment_file, override, message):
    with pytest.raises(InputError, match=message):
        read_experiment(experiment_file, [override])


@pytest.mark.parametrize("former", FORMER)
def test_a_former_flat_key_is_answered_with_its_new_name(experiment_file, former):
    assert FORMER[former] in setting_names()
    with pytest.raises(InputError, match=f"'{former}' is not a setting any more; it is now {FORMER[former]}"):
        read_experiment(experiment_file, [f"{former}=1"])


def test_every_setting_has_a_description_and_a_kind():
    for name in setting_names():
        assert field_of(name).description, name


def test_all_mistakes_are_reported_at_once(experiment_file):
    with pytest.raises(InputError, match="(?s)sample.method.*distillation.epochs"):
        read_experiment(experiment_file, ["distillation.epochs=0", "sample.method=x"])
    experiment_file.write_text("audio_root: /x\nsampling: dpp\n")
    with pytest.raises(InputError, match="(?s)recordings.root.*sample.method"):
        read_experiment(experiment_file)


def test_a_list_for_a_single_value_is_a_sweep_and_for_a_list_is_not(experiment_file):
    sweep = read_experiment(experiment_file, ["sample.method=[dpp, random]", "student=[128, 64]", "seeds=[0, 1]"])
    assert sweep.axes == ("sample.method", "student.dim")
    assert [(each.sample.method, each.student.dim) for each in sweep.experiments] == [
        ("dpp", 128),
        ("dpp", 64),
        ("random", 128),
        ("random", 64),
    ]
    assert sweep.experiments[0].seeds == (0, 1)


def test_for_a_setting_that_takes_a_list_a_list_of_lists_is_a_sweep(experiment_file):
    sweep = read_experiment(experiment_file, ["student.filters=[[2, 128], [4, 128]]", "seeds=[3]"])
    assert sweep.axes == ("student.filters",)
    assert [each.student.filters for each in sweep.experiments] == [(2, 128), (4, 128)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.hop_size=0.1"], "dataset.hop_size must be at least that"),
        (["folds.classifier=svm"], "needs class probabilities, which folds.classifier: svm does not give"),
        (["representations=[logmel-cnn, student]", "recordings.root=null"], "recordings.root is missing"),
    ],
)
def test_an_impossible_supervision_is_refused(experiment_file, overrides, message):
    settings = ["dataset.name=us8k", "representations=[logmel-cnn]", "cnn=soft_labels", "dataset.hop_size=0.5"]
    assert not read_experiment(experiment_file, settings).experiments[0].trains_student
    with pytest.raises(InputError, match=message):
        read_experiment(experiment_file, settings + overrides)


def test_a_value_may_refer_to_another_one_in_each_combination(experiment_file):
    overrides = ["dataset.root=${recordings.root}/${dataset}", "recordings.root=/here", "dataset.name=[us8k, esc50]"]
    sweep = read_experiment(experiment_file, overrides)
    assert [each.dataset.root for each in sweep.experiments] == ["/here/us8k", "/here/esc50"]


def test_exponents_are_numbers_even_where_yaml_reads_text(experiment_file):
    (experiment,) = read_experiment(experiment_file, ["distillation.learning_rate=1e-5"]).experiments
    assert experiment.distillation.learning_rate == 1e-5


@pytest.mark.parametrize(("text", "message"), [("- a\n", "must be a mapping"), ("a: [", "not valid YAML")])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_experiment(tmp_path / "x.yaml")


def test_nothing_in_a_file_is_executed(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="not valid YAML"):
        read_experiment(path)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "experiments").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_experiment_of_the_project_is_valid(path):
    roots = [] if "synthetic: true" in path.read_text() else ["recordings.root=/x", "dataset.root=/y"]
    assert read_experiment(path, roots).experiments
