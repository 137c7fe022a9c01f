"""The chain on a Slurm cluster: scripts, submission, the ledger of jobs, status, requeueing."""
