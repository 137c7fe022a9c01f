# shellcheck shell=bash
# Sourced by every job: the site's environment, Python, and what a job file's command is made of.
set -euo pipefail

SEA_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=jobs/site.sh
source "${SEA_SITE:-$SEA_HOME/jobs/site.sh}"
if [[ -z ${SEA_PYTHON:-} ]]; then
    SEA_PYTHON=$SEA_HOME/.venv/bin/python
    [[ -x $SEA_PYTHON ]] || SEA_PYTHON=$(command -v python)
fi
export PYTHONUNBUFFERED=1

# require NAME...: end the job with a sentence unless these parameters are set.
require() {
    local name
    for name; do
        if [[ -z ${!name:-} ]]; then
            echo "error: $name is not set. Set it in the user block of the job file, or export it before sbatch." >&2
            exit 2
        fi
    done
}

# require_path NAME...: the same, and each must name what exists.
require_path() {
    local name
    for name; do
        require "$name"
        if [[ ! -e ${!name} ]]; then
            echo "error: $name is ${!name}, which does not exist on $(hostname)." >&2
            exit 2
        fi
    done
}

# stage NAME FLAG...: become the stage's program, so that Slurm's warning signal reaches it.
# Training in several tasks is a step of Slurm's, which hands the signal on.
stage() {
    local name=$1 step=()
    shift
    if [[ $name == 03-* && ${SLURM_NTASKS:-1} -gt 1 ]]; then
        step=(srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}")
    fi
    exec "${step[@]}" "$SEA_PYTHON" "$SEA_HOME/scripts/${name//-/_}.py" "$@"
}
