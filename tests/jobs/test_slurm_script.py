"""The scripts of jobs: what a person would read before submitting, compared word by word."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from l3embedding.cli.program import stage_arguments, stage_parser
from l3embedding.jobs.chain import build_chain
from l3embedding.jobs.experiment import Sweep, read_experiment, value_of
from l3embedding.jobs.slurm.script import JOBS, build_script, job_file, log_file, stage_options
from l3embedding.jobs.slurm.submit import bundle, make_jobs, script_of
from l3embedding.jobs.stages import STAGES
from l3embedding.settings import Experiment
from l3embedding.utils.errors import InputError
from tests.conftest import REPOSITORY

SETTINGS = {
    "recordings": {"root": "/audio"},
    "dataset": {"root": "/sonyc"},
    "slurm": {"array_tasks": 3, "array_throttle": 2},
}
HEADER = "#!/usr/bin/env bash\n#SBATCH --time=01:00:00\n##SBATCH --gres=gpu:1\n#SBATCH --array=0-14%4\n: x\n"


def _tasks(**settings):
    sections = {
        name: SETTINGS.get(name, {}) | each if isinstance(each, dict) else each for name, each in settings.items()
    }
    experiment = Experiment(**SETTINGS | sections)
    return build_chain(Sweep((), (experiment,)), Path("/run")), experiment


def _script(task, settings, header=HEADER):
    return build_script([task], header, settings, Path("/home/me"), Path("/run/logs"), "/venv/python")


def test_the_script_of_an_array_is_this_one():
    tasks, settings = _tasks(sample={"size": 20})
    sample = next(task for task in tasks if task.stage.number == 1)
    assert _script(sample, settings) == (
        "#!/usr/bin/env bash\n"
        "# 01-sample-teacher-embeddings: draw the sample of teacher embeddings that the reduction is fitted on.\n"
        "#SBATCH --time=01:00:00\n"
        '#SBATCH --job-name="01-sample-teacher-embeddings"\n'
        '#SBATCH --chdir="/home/me"\n'
        '#SBATCH --output="/run/logs/01-sample-teacher-embeddings-%a.log"\n'
        "#SBATCH --array=0-2%2\n"
        "\n"
        ': "${SEA_PYTHON:=/venv/python}"\n'
        f"source {JOBS}/activate.sh\n"
        "stage 01-sample-teacher-embeddings \\\n"
        "    --wait --max-timeouts 10 \\\n"
        '    --task-index "$SLURM_ARRAY_TASK_ID" --num-tasks 3 \\\n'
        "    --output-dir /run/01-sample-teacher-embeddings \\\n"
        "    --audio-dir /run/00-extract-teacher-embeddings \\\n"
        "    --sample.size 20\n"
    )


def test_a_script_gives_the_program_exactly_the_tasks_settings():
    tasks, settings = _tasks(teacher={"weights_dirs": ("/a b", "c'd")}, student={"filters": (2, 4, 4, 8)})
    for task in tasks:
        command = _script(task, settings).split(f"stage {task.stage.name}")[1]
        words = shlex.split(command.replace("\\\n", " ").replace("$SLURM_ARRAY_TASK_ID", "1"))
        flags = vars(stage_parser(task.stage).parse_args(words))
        assert _signed(task, flags) == task.stage.signed(task.arguments)
        assert {name: Path(flags[name]) for name in task.inputs} == dict(task.inputs)
        assert flags["wait"]
        if task.stage.divisible:
            assert (flags["task_index"], flags["num_tasks"]) == (1, 3)


def _signed(task, flags):
    """What a program signs that is called with these flags."""
    given = {name: flags[name] for name in task.stage.fields if name in flags}
    return task.stage.signed(stage_arguments(task.stage, given))


def _seeds(tasks, settings):
    jobs = make_jobs(tasks, settings, Path("/run"))
    return [group for group in bundle(jobs) if len(group) > 1], settings


def test_the_script_of_an_array_over_seeds_gives_each_its_folder_and_log():
    tasks, settings = _tasks(representations=("teacher",), seeds=(0, 7))
    ((first, second),), _ = _seeds(tasks, settings)
    path, script = script_of([first, second], settings, Path("/run"))
    assert path == Path("/run/slurm/06-train-classifier,teacher,seed=0+7.sbatch")
    assert '#SBATCH --job-name="06-train-classifier teacher,seed=*"\n' in script
    assert '#SBATCH --output="/run/logs/06-train-classifier,teacher,seed=%a.log"\n' in script
    assert "#SBATCH --array=0,7%2\n" in script
    assert (
        "case $SLURM_ARRAY_TASK_ID in\n"
        "    0) set -- --output-dir /run/06-train-classifier/teacher,seed=0 --seed 0 ;;\n"
        "    7) set -- --output-dir /run/06-train-classifier/teacher,seed=7 --seed 7 ;;\n"
        "esac\n"
        "stage 06-train-classifier \\\n"
        '    --wait --max-timeouts 10 \\\n    "$@" \\\n    --dataset-root /sonyc \\\n'
    ) in script
    for job in (first, second):
        index = job.task.arguments["seed"]
        setting, command = script.split("case ")[1].split("esac\n")
        own = re.search(rf"^    {index}\) set -- (.*) ;;$", setting, re.MULTILINE)[1]
        command = command.split("stage 06-train-classifier")[1].replace('"$@"', own)
        words = shlex.split(command.replace("\\\n", " "))
        flags = vars(stage_parser(job.task.stage).parse_args(words))
        assert _signed(job.task, flags) == job.task.stage.signed(job.task.arguments)
        assert Path(flags["output_dir"]) == job.task.folder
        assert job.log == Path(f"/run/logs/06-train-classifier,teacher,seed={index}.log")


def test_only_what_differs_in_nothing_but_the_seed_is_one_array(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("recordings: /audio\ndataset: {root: /sonyc}\nseeds: [0, 1]\nclassifier: {l2_reg: [0.0, 1.0]}\n")
    sweep = read_experiment(path)
    groups, _ = _seeds(build_chain(sweep, Path("/run")), sweep.experiments[0])
    assert len(groups) == 4 * 2
    for group in groups:
        assert [job.task.arguments["seed"] for job in group] == [0, 1]
        assert len({(job.task.arguments["classifier"].l2_reg, job.task.inputs["features"]) for job in group}) == 1


@pytest.mark.parametrize("seeds", [(0,), (5000, 6000)])
def test_a_single_seed_and_one_that_no_index_can_be_has_a_job_of_its_own(seeds):
    assert _seeds(*_tasks(seeds=seeds))[0] == []


def test_resources_are_those_of_the_numbered_job_file():
    folds = [{"dataset": {"name": name}} for name in ("esc50", "us8k", "dcase2013")]
    for settings in ({}, *folds, {"reduction": {"mode": "mse"}, "representations": ["student"]}):
        for task in _tasks(**settings)[0]:
            header = job_file(task).read_text()
            script = _script(task, _tasks(**settings)[1], header)
            for line in re.findall(r"^#SBATCH --(?:time|mem|cpus|requeue).*$", header, re.MULTILINE):
                assert line in script


def test_a_percent_sign_in_a_path_is_not_taken_for_a_pattern():
    tasks, settings = _tasks()
    script = build_script([tasks[0]], HEADER, settings, Path("/home/me"), Path("/run/100%j"), "python")
    assert '--output="/run/100%%j/00-extract-teacher-embeddings-%a.log"' in script


def test_a_path_that_slurm_cannot_take_is_refused():
    tasks, settings = _tasks()
    with pytest.raises(InputError, match="cannot be given to Slurm"):
        build_script([tasks[0]], HEADER, settings, Path('/home/"me"'), Path("/run/logs"), "python")


def test_an_experiments_options_reach_their_stage_only():
    tasks, settings = _tasks(slurm={"sbatch": ("03: --gres=gpu:1 --mem=32G", "*: --account=lab")})
    options = {task.stage.number: stage_options(task, settings) for task in tasks}
    assert options[3] == ["--gres=gpu:1", "--mem=32G", "--account=lab"]
    assert options[4] == ["--account=lab"]


def test_without_an_array_there_is_one_log():
    tasks, settings = _tasks(slurm={"array_tasks": 1})
    assert "--array" not in _script(tasks[0], settings)
    assert log_file(tasks[0], Path("logs"), 1) == Path("logs/00-extract-teacher-embeddings.log")


JOB_FILES = sorted([*JOBS.rglob("*.sbatch")])


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: str(path.relative_to(JOBS)))
def test_a_job_file_hands_its_stage_flags_that_it_has(path):
    """Every flag of the command is the program's, and every variable in it is of the user block."""
    text = path.read_text()
    name, command = re.search(r"^stage (\S+)(.*)", text, re.MULTILINE | re.DOTALL).groups()
    flags = set(re.findall(r"(?<!\w)(--[a-z][\w.-]*)", command))
    parser = stage_parser(STAGES[name])
    assert flags <= set(parser._option_string_actions), path
    required = {action.option_strings[0] for action in parser._actions if action.required}
    assert required <= flags
    declared = set(re.findall(r'^: "\$\{(\w+):=', text, re.MULTILINE))
    used = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", command))
    assert used <= declared | {"SLURM_ARRAY_TASK_ID"}
    assert name in path.name or name.rpartition("-")[0] in path.name


DOCUMENTED = {
    "upstream/03-train-approx-embedding-pca.sbatch": (
        "APPROX_MODE ASR NUM_MELS NUM_DFT HOP_LEN AUDIO_DIR EMBEDDING_DIR OUTPUT_DIR GOOGLE_DEV_APP_NAME GSHEET_ID"
    ),
    "downstream/sonyc_ust/05-generate-embedding-samples-pca.sbatch": (
        "ASR NUM_MELS NUM_DFT HOP_LEN L3_MODEL_PATH SONYC_UST_PATH OUTPUT_DIR"
    ),
}


@pytest.mark.parametrize("path", DOCUMENTED)
def test_the_documented_jobs_have_the_documented_parameters_and_defaults(path):
    text = (JOBS / "emb_approx_mse" / path).read_text()
    block = dict(re.findall(r'^: "\$\{(\w+):=(.*)\}"', text, re.MULTILINE))
    assert set(DOCUMENTED[path].split()) <= block.keys()
    assert (block["ASR"], block["NUM_MELS"], block["NUM_DFT"], block["HOP_LEN"]) == ("8000", "64", "1024", "160")


def test_shellcheck_finds_nothing(tmp_path):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed; .ci/run installs it")
    tasks, settings = _tasks(seeds=(0, 1))
    for task in tasks:
        (tmp_path / f"{task.name}.sbatch").write_text(_script(task, settings, job_file(task).read_text()))
    for group in _seeds(tasks, settings)[0]:
        path, script = script_of(group, settings, tmp_path)
        (tmp_path / path.name).write_text(script)
    files = [*JOB_FILES, *JOBS.glob("*.sh"), *tmp_path.glob("*.sbatch"), REPOSITORY / ".ci" / "run"]
    command = ["shellcheck", "--external-sources", f"--source-path={REPOSITORY}", *files]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_a_table_of_the_paper_is_one_command_on_the_authors_settings(table):
    path = REPOSITORY / "experiments" / "paper" / f"{table}.yaml"
    sweep = read_experiment(path, ["recordings.root=/audio", "dataset.root=/sonyc"])
    for each in sweep.experiments:
        assert (each.sample.size, each.sample.timescale, each.reduction.mode) == (500_000, "day", "pca")
        training = each.distillation
        assert (training.epochs, training.train_epoch_size, training.batch_size) == (300, 4096, 64)
        assert each.teacher.stand_in is False
        assert each.slurm.array_tasks == 15
    swept = {
        "table1": ("student.dim", [512, 256, 128, 64]),
        "table2": ("sample.method", ["dpp", "random", "dpp_div", "spl"]),
    }
    name, values = swept[table]
    assert [value_of(each, name) for each in sweep.experiments] == values
    names = [task.stage.name for task in build_chain(sweep, Path("/run"))]
    assert names.count("00-extract-teacher-embeddings") == 1
    assert names.count("03-train-approx-embedding") == 4
