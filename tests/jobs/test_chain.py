"""The chain: which task follows which, and what a sweep shares."""

from __future__ import annotations

from pathlib import Path

from l3embedding.cli.program import stage_parser
from l3embedding.jobs.chain import build_chain
from l3embedding.jobs.experiment import Experiment, Sweep
from l3embedding.jobs.stages import STAGES

SETTINGS = {"name": "x", "audio_root": "/audio", "dataset_root": "/sonyc"}


def _chain(axes=(), *experiments):
    return build_chain(Sweep(axes, experiments or (Experiment(**SETTINGS),)), Path("/run"))


def test_the_stages_come_in_the_order_of_their_numbers_but_for_embedding_and_judging():
    names = [task.name for task in _chain()]
    assert names == [
        "00-extract-teacher-embeddings",
        "01-sample-teacher-embeddings",
        "02-fit-reduction",
        "03-train-approx-embedding",
        "04-export-student",
        "05-generate-embedding-samples teacher",
        "06-train-classifier teacher",
        "05-generate-embedding-samples reduced",
        "06-train-classifier reduced",
        "05-generate-embedding-samples student",
        "06-train-classifier student",
        "05-generate-embedding-samples student-int8",
        "06-train-classifier student-int8",
        "07-report",
    ]


def test_every_task_comes_after_its_parents_and_writes_a_folder_of_its_own():
    tasks = _chain()
    for position, task in enumerate(tasks):
        assert all(parent in tasks[:position] for parent in task.parents)
    assert len({task.folder for task in tasks}) == len(tasks)


def test_what_a_task_reads_is_what_its_parents_write():
    for task in _chain():
        if task.stage.name == "07-report":
            continue
        written = [parent.folder for parent in task.parents]
        for path in task.inputs.values():
            assert path in (Path("/audio"), Path("/sonyc")) or any(path.is_relative_to(each) for each in written)


def test_a_sweep_shares_what_it_does_not_touch():
    swept = [
        Experiment(**SETTINGS, sampling=sampling, student=student)
        for sampling in ("dpp", "random")
        for student in (128, 64)
    ]
    tasks = _chain(("sampling", "student"), *swept)
    count = {stage: sum(task.stage.name == stage for task in tasks) for stage in STAGES}
    assert count["00-extract-teacher-embeddings"] == 1
    assert count["01-sample-teacher-embeddings"] == 2
    assert count["02-fit-reduction"] == count["03-train-approx-embedding"] == count["04-export-student"] == 4
    # The teacher once, and three representations of each of the four students.
    assert count["05-generate-embedding-samples"] == count["06-train-classifier"] == 1 + 3 * 4
    assert count["07-report"] == 1


def test_without_a_reduction_the_student_reads_the_teachers_embeddings():
    experiment = Experiment(**SETTINGS, approx_mode="mse", student=512, representations=("teacher", "student"))
    tasks = {task.stage.name: task for task in _chain((), experiment)}
    assert "02-fit-reduction" not in tasks
    assert set(tasks["03-train-approx-embedding"].inputs) == {"audio_dir"}


def test_a_network_from_labels_alone_has_the_students_architecture_and_its_own_images():
    representations = ("mfcc", "logmel-cnn")
    tasks = {
        task.name: task for task in _chain((), Experiment(**SETTINGS, dataset="us8k", representations=representations))
    }
    judged = tasks["06-train-classifier logmel-cnn"]
    assert judged.parameters["student"] == tasks["03-train-approx-embedding"].parameters["student"]
    assert judged.inputs["features"] == tasks["05-generate-embedding-samples logmel-cnn"].folder
    for name in representations:
        assert set(tasks[f"05-generate-embedding-samples {name}"].inputs) == {"dataset_root"}
        assert set(tasks[f"06-train-classifier {name}"].inputs) == {"dataset_root", "features"}


DISTILLED = {"name": "x", "dataset_root": "/us8k", "dataset": "us8k", "embedding_hop_size": 0.96}


def test_what_needs_no_upstream_recordings_is_judged_without_them():
    tasks = _chain((), Experiment(**DISTILLED, representations=["teacher", "mfcc", "logmel-cnn"]))
    assert {task.stage.number for task in tasks} == {5, 6, 7}


def test_a_sweep_over_supervision_judges_the_teacher_once_and_embeds_once():
    swept = [
        Experiment(**DISTILLED, representations=["teacher", "logmel-cnn"], supervision=supervision, student=student)
        for supervision in ("labels", "embedding", "both")
        for student in (128, 64)
    ]
    tasks = {task.name: task for task in _chain(("supervision", "student"), *swept)}
    embedded = [name for name in tasks if name.startswith("05")]
    assert embedded == ["05-generate-embedding-samples teacher", "05-generate-embedding-samples logmel-cnn"]
    judged = {name.partition(" ")[2]: task for name, task in tasks.items() if name.startswith("06")}
    assert set(judged) == {"teacher"} | {
        f"logmel-cnn supervision={supervision},student={student}"
        for supervision in ("labels", "embedding", "both")
        for student in (128, 64)
    }
    taught = judged["logmel-cnn supervision=both,student=64"]
    assert taught.inputs["teacher_features"] == tasks[embedded[0]].folder
    assert tasks[embedded[0]] in taught.parents
    assert (taught.parameters["supervision"], taught.parameters["student"]) == ("both", 64)
    assert "teacher_features" not in judged["logmel-cnn supervision=labels,student=64"].inputs


def test_a_temperature_is_of_account_to_softened_labels_alone():
    swept = [
        Experiment(**DISTILLED, representations=["logmel-cnn"], supervision=supervision, temperature=temperature)
        for supervision in ("labels", "embedding", "soft_labels")
        for temperature in (2, 8)
    ]
    judged = [task.label for task in _chain(("supervision", "temperature"), *swept) if task.stage.number == 6]
    assert judged == [
        "logmel-cnn supervision=labels",
        "logmel-cnn supervision=embedding",
        "logmel-cnn supervision=soft_labels,temperature=2.0",
        "logmel-cnn supervision=soft_labels,temperature=8.0",
    ]


def test_several_seeds_are_several_classifiers_on_one_embedding():
    tasks = _chain((), Experiment(**SETTINGS, representations=("teacher",), classifier_seeds=(0, 1, 2)))
    judged = [task for task in tasks if task.stage.name == "06-train-classifier"]
    assert [task.parameters["seed"] for task in judged] == [0, 1, 2]
    assert len({task.inputs["features"] for task in judged}) == 1


def test_a_programs_flags_read_back_what_the_chain_writes():
    unusual = Experiment(
        **SETTINGS,
        student=8,
        student_filters=(2, 4, 8),
        learning_rate=3e-5,
        standardize=False,
        stand_in_teacher=True,
        weights_dirs=("/a b", "c"),
        teacher_embedding_size=6144,
        classifier_seeds=(3,),
    )
    for experiment in (Experiment(**SETTINGS), unusual):
        for task in _chain((), experiment):
            arguments = vars(stage_parser(task.stage).parse_args(task.command()[2:]))
            assert {name: arguments[name] for name in task.parameters} == dict(task.parameters)
            assert {name: Path(arguments[name]) for name in task.inputs} == dict(task.inputs)


def test_every_stage_has_its_program():
    for stage in STAGES.values():
        assert stage.program.is_file()


def test_a_fine_tuning_classifier_reads_the_student_and_a_split_file_is_read_where_it_lies():
    experiment = Experiment(**SETTINGS, representations=["student"], fine_tune=True, split_path="/splits.csv")
    tasks = {task.stage.name: task for task in _chain((), experiment)}
    judge, train = tasks["06-train-classifier"], tasks["03-train-approx-embedding"]
    assert judge.inputs["student_dir"] == train.folder
    assert judge.inputs["split_path"] == Path("/splits.csv")
    assert train in judge.parents
