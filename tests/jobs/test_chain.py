"""The chain: what is wanted decides what runs, and a sweep shares what it does not touch."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from l3embedding.cli.program import stage_arguments, stage_parser
from l3embedding.jobs.chain import build_chain
from l3embedding.jobs.experiment import field_of, read_experiment, setting_names
from l3embedding.jobs.stages import STAGES
from l3embedding.settings import UPSTREAM_REPRESENTATIONS, kind_of

ROOTS = "recordings: {root: /audio}\ndataset: {root: /sonyc}\n"


@pytest.fixture
def chain(tmp_path):
    """Builds the chain of an experiment from YAML lines that replace those of a plain one."""

    def build(*overrides: str, text: str = ROOTS):
        path = tmp_path / "x.yaml"
        path.write_text(text)
        return build_chain(read_experiment(path, overrides), Path("/run"))

    return build


def _names(tasks):
    return [task.name for task in tasks]


def _count(tasks):
    return {stage: sum(task.stage.name == stage for task in tasks) for stage in STAGES}


def test_the_stages_come_in_the_order_of_their_numbers(chain):
    assert _names(chain()) == [
        "00-extract-teacher-embeddings",
        "01-sample-teacher-embeddings",
        "02-fit-reduction",
        "03-train-approx-embedding",
        "04-export-student",
        "05-generate-embedding-samples teacher",
        "05-generate-embedding-samples reduced",
        "05-generate-embedding-samples student",
        "05-generate-embedding-samples student-int8",
        "06-train-classifier teacher",
        "06-train-classifier reduced",
        "06-train-classifier student",
        "06-train-classifier student-int8",
        "07-report",
    ]


def test_every_task_comes_after_its_parents_and_has_a_folder_of_its_own(chain):
    tasks = chain("sample.method=[dpp, random]", "student.dim=[128, 64]", "seeds=[0, 1]")
    for position, task in enumerate(tasks):
        assert all(parent in tasks[:position] for parent in task.parents)
    assert len({task.folder for task in tasks}) == len(tasks)


def test_a_task_reads_what_its_parents_write(chain):
    for task in chain()[:-1]:
        written = [parent.folder for parent in task.parents]
        for path in task.inputs.values():
            assert path in (Path("/audio"), Path("/sonyc")) or any(path.is_relative_to(each) for each in written)


def test_what_nothing_needs_does_not_run(chain):
    assert _names(chain("representations=[reduced]")) == [
        "00-extract-teacher-embeddings",
        "01-sample-teacher-embeddings",
        "02-fit-reduction",
        "05-generate-embedding-samples teacher",
        "05-generate-embedding-samples reduced",
        "06-train-classifier reduced",
        "07-report",
    ]
    upstream = ("00", "01", "02", "03", "04")
    baselines = chain("dataset.name=us8k", "representations=[mfcc, teacher, logmel-cnn]")
    assert not [name for name in _names(baselines) if name.startswith(upstream)]
    alone = chain("representations=[]", text="recordings: /audio\n")
    assert [name[:2] for name in _names(alone)] == [*upstream, "07"]


def test_representations_that_need_upstream_recordings_are_those_whose_chain_reads_them(chain):
    for representation in ("teacher", "reduced", "student", "student-int8", "mfcc"):
        reads = any(task.stage.number == 0 for task in chain(f"representations=[{representation}]"))
        assert reads == (representation in UPSTREAM_REPRESENTATIONS)


def test_a_sweep_shares_what_it_does_not_touch(chain):
    count = _count(chain("sample.method=[dpp, random]", "student.dim=[128, 64]"))
    assert count["00-extract-teacher-embeddings"] == 1
    assert count["01-sample-teacher-embeddings"] == 2
    assert count["02-fit-reduction"] == count["03-train-approx-embedding"] == count["04-export-student"] == 4
    # The teacher once, and three representations of each of the four students.
    assert count["05-generate-embedding-samples"] == count["06-train-classifier"] == 1 + 3 * 4
    assert count["07-report"] == 1


@pytest.mark.parametrize(
    ("setting", "stage"),
    [
        ("recordings.root=[/a, /b]", "00-extract-teacher-embeddings"),
        ("recordings.levels=[/a, /b]", "00-extract-teacher-embeddings"),
        ("distillation.continue_from=[/a, /b]", "03-train-approx-embedding"),
        ("dataset.root=[/a, /b]", "05-generate-embedding-samples"),
        ("dataset.split_path=[/a, /b]", "06-train-classifier"),
    ],
)
def test_a_sweep_over_a_path_runs_every_value(chain, setting, stage):
    tasks = [task for task in chain(setting, "representations=[student]") if task.stage.name == stage]
    assert len(tasks) == 2
    name = {"root": "audio_root" if stage[:2] == "00" else "dataset_root", "levels": "spl_root"}
    key = setting.partition("=")[0].partition(".")[2]
    assert [task.inputs[name.get(key, key)] for task in tasks] == [Path("/a"), Path("/b")]


def test_two_values_of_one_word_get_two_folders(chain):
    tasks = chain("teacher.name=[m/a, m_a]", "representations=[teacher]")
    embed = [task for task in tasks if task.stage.number == 5]
    assert [task.arguments["teacher"].name for task in embed] == ["m/a", "m_a"]
    assert len({task.folder for task in embed}) == 2


def test_a_path_may_follow_another_swept_value(chain):
    tasks = chain("dataset.name=[us8k, esc50]", "dataset.root=/data/${dataset.name}", "representations=[teacher]")
    embed = [task for task in tasks if task.stage.number == 5]
    assert [str(task.inputs["dataset_root"]) for task in embed] == ["/data/us8k", "/data/esc50"]
    assert [task.label for task in embed] == ["teacher dataset.name=us8k", "teacher dataset.name=esc50"]


@pytest.mark.parametrize(
    ("setting", "unaffected"),
    [
        ("report.tsne_points=[0, 50]", "0123456"),
        ("recordings.time_zone=[UTC, Europe/Rome]", "0"),
        ("student.asr=[8000, 4000]", "012"),
        ("teacher.batch_size=[8, 64]", "0123456"),
        ("sample.steps=[3, 9]", "0123456"),
        ("reduction.n_neighbors=[15, 50]", "0123456"),
        ("board.ram_limit_bytes=[1, 2]", "0123"),
        ("classifier.dropout=[0, 0.5]", "012345"),
        ("slurm.array_tasks=[1, 2]", "0123456"),
    ],
)
def test_a_setting_repeats_only_the_stages_whose_result_it_decides(chain, setting, unaffected):
    plain, swept = _count(chain()), _count(chain(setting))
    for stage, count in swept.items():
        if stage[0] == "0" and stage[1] in unaffected:
            assert count == plain[stage], stage
    # The teacher embeds the downstream clips once, whatever the student.
    labels = [task.label for task in chain(setting) if task.stage.number == 5]
    assert len([label for label in labels if label.startswith("teacher")]) == 1


def test_without_a_reduction_the_student_reads_the_teachers_embeddings(chain):
    tasks = chain("reduction.mode=mse", "student.dim=512", "representations=[teacher, student]")
    by_stage = {task.stage.name: task for task in tasks}
    assert "02-fit-reduction" not in by_stage
    assert set(by_stage["03-train-approx-embedding"].inputs) == {"audio_dir"}


def test_a_network_taught_by_a_teacher_reads_the_teachers_embeddings(chain):
    taught = ("dataset.name=us8k", "dataset.hop_size=1", "representations=[logmel-cnn]")
    tasks = chain(*taught, "cnn.supervision=[labels, embedding]", "student.dim=[128, 64]")
    by_label = {task.label: task for task in tasks if task.stage.number == 6}
    assert set(by_label) == {
        f"logmel-cnn cnn.supervision={supervision},student.dim={dim}"
        for supervision, dim in itertools.product(("labels", "embedding"), (128, 64))
    }
    (teacher,) = [task for task in tasks if task.name == "05-generate-embedding-samples teacher"]
    task = by_label["logmel-cnn cnn.supervision=embedding,student.dim=64"]
    assert task.inputs["teacher_features"] == teacher.folder
    assert (task.arguments["cnn"].supervision, task.arguments["student"].dim) == ("embedding", 64)
    assert "teacher_features" not in by_label["logmel-cnn cnn.supervision=labels,student.dim=64"].inputs


def test_a_temperature_makes_a_difference_to_softened_labels_only(chain):
    taught = ("dataset.name=us8k", "dataset.hop_size=1", "representations=[logmel-cnn]")
    tasks = chain(*taught, "cnn.supervision=[labels, embedding, soft_labels]", "cnn.temperature=[2, 8]")
    assert [task.label for task in tasks if task.stage.number == 6] == [
        "logmel-cnn cnn.supervision=labels",
        "logmel-cnn cnn.supervision=embedding",
        "logmel-cnn cnn.supervision=soft_labels,cnn.temperature=2.0",
        "logmel-cnn cnn.supervision=soft_labels,cnn.temperature=8.0",
    ]


def test_several_seeds_are_several_classifiers_on_one_embedding(chain):
    tasks = [task for task in chain("representations=[teacher]", "seeds=[0, 1, 2]") if task.stage.number == 6]
    assert [task.arguments["seed"] for task in tasks] == [0, 1, 2]
    assert len({task.inputs["features"] for task in tasks}) == 1


UNUSUAL = (
    "student={dim: 8, filters: [2, 4, 8]}",
    "distillation.learning_rate=3e-5",
    "classifier.standardize=false",
    "teacher={stand_in: true, weights_dirs: [/a b, c], embedding_size: 6144}",
    "seeds=[3]",
)


@pytest.mark.parametrize("overrides", [(), UNUSUAL])
def test_a_programs_flags_give_the_same_signature_as_the_chain(chain, overrides):
    for task in chain(*overrides):
        flags = vars(stage_parser(task.stage).parse_args(task.flags()))
        arguments = stage_arguments(task.stage, {name: flags[name] for name in task.stage.fields if name in flags})
        assert task.stage.signed(arguments) == task.stage.signed(task.arguments)
        parameters = task.stage.parameters(arguments, task.inputs)
        assert parameters == task.stage.parameters(task.arguments, task.inputs)
        assert {name: Path(flags[name]) for name in task.inputs} == dict(task.inputs)


def test_every_path_among_the_settings_is_an_input_of_a_stage():
    paths = {name for name in setting_names() if kind_of(field_of(name)) == "reads"}
    assert paths == {each.setting for stage in STAGES.values() for each in stage.inputs if each.setting}


def test_every_stage_has_its_program():
    for stage in STAGES.values():
        assert stage.program.is_file()


def test_a_fine_tuning_classifier_reads_the_student_and_a_split_file_where_it_lies(chain):
    overrides = ("representations=[student]", "classifier.fine_tune=true", "dataset.split_path=/splits.csv")
    tasks = {task.stage.name: task for task in chain(*overrides)}
    classify, train = tasks["06-train-classifier"], tasks["03-train-approx-embedding"]
    assert classify.inputs["student_dir"] == train.folder
    assert classify.inputs["split_path"] == Path("/splits.csv")
    assert train in classify.parents
