# shellcheck shell=bash disable=SC2034
# Your cluster, in one file. Many clusters need none of it: remove the '#' from the lines that yours needs.
# If l3embedding was installed by pip, copy this file and export its place: SEA_SITE=$HOME/site.sh
#
# `sea` reads it whenever it submits, and every job when it starts. Before an sbatch by hand:
#
#     source jobs/site.sh && sbatch "${SEA_SBATCH_OPTIONS[@]}" jobs/...

# --- For sbatch, which reads these variables itself ---
# export SBATCH_ACCOUNT=my_lab
# export SBATCH_PARTITION=standard
# export SBATCH_QOS=normal

# --- Any other option of sbatch, for every job ---
SEA_SBATCH_OPTIONS=(
    # --mail-type=END,FAIL --mail-user=me@university.edu
    # --exclude=node013
)

# --- The software, in the job: modules, and an environment if it is not .venv in the repository ---
# module load python/3.11 cuda/12.5
# source "$HOME/miniconda3/etc/profile.d/conda.sh" && conda activate sea
# SEA_PYTHON=$HOME/venvs/sea/bin/python

# --- Room for temporary files, and the folder of downloaded weights that all nodes share ---
# export TMPDIR=/scratch/$USER
# export L3EMBEDDING_CACHE=/project/my_lab/l3embedding
