#!/bin/bash
# A training stage on machines of a Slurm cluster, from a checkout that all of them see (docs/scale.md):
#   sbatch --export=ALL,STAGE=stage2,REMOTE=s3://BUCKET/dvc,MLFLOW_TRACKING_URI=URL deploy/slurm.sh
# Two minutes before its time is over, or when it has to make room, the job saves a resume point and queues again; it
# goes on with as many machines as it then gets, one to four, to the same result. `scancel` ends it for good.
# Passwords and keys come with the environment, or from files that only you may read (docs/team.md, docs/remotes.md).
#SBATCH --job-name=tinygptv
#SBATCH --nodes=1-4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
: "${STAGE:?is not set; say sbatch --export=ALL,STAGE=stage1 deploy/slurm.sh}"
export MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD=false MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false DVC_NO_ANALYTICS=1
export NODES=$SLURM_JOB_NUM_NODES PROCESSES=$SLURM_GPUS_ON_NODE RUN=$SLURM_JOB_ID
read -r HEAD < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export HEAD

deploy/node.sh install
code=0
srun --kill-on-bad-exit=0 deploy/node.sh train || code=$? # train runs torchrun, one a machine
if [ "$code" = 143 ]; then # 128 + SIGTERM: not failed, stopped
  scontrol requeue "$SLURM_JOB_ID"
fi
[ "$code" = 0 ] || exit "$code"
deploy/node.sh keep
