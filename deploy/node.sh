#!/bin/bash
# One machine of those that share a training stage, in a checkout (docs/scale.md); sky.yaml and slurm.sh call it.
#   node.sh install  the environment, the DVC remote, and what comes before STAGE
#   node.sh train    this machine's processes of STAGE, while the other machines start theirs
#   node.sh keep     once STAGE has ended: its outputs into DVC and the remote; nothing where another machine has them
# STAGE: stage1 to stage4 of the profile in params.yaml. REMOTE, REMOTE_ENDPOINT: address of a DVC remote and of its
# server, where .dvc/config names none. STATE: a folder that all machines see, where they do not share the checkout.
# train also needs NODES, PROCESSES (of each machine), HEAD (the first machine's address) and RUN (a name).
set -euo pipefail
cd "$(dirname "$0")/.."
: "${STAGE:?is not set; say stage1, stage2, stage3 or stage4}"
profile=$(sed -n 's/^profile: *//p' params.yaml)
export PATH=$PWD/.venv/bin:$PATH PYTHONPATH=$PWD/src PYTHONHASHSEED=0

case ${1:-} in
install)
  make install
  if [ -n "${REMOTE:-}" ]; then
    dvc remote add --local --default --force launched "$REMOTE"
    dvc remote modify --local launched verify true
    [ -z "${REMOTE_ENDPOINT:-}" ] || dvc remote modify --local launched endpointurl "$REMOTE_ENDPOINT"
  fi
  dvc pull --with-deps --allow-missing "$STAGE" # missing are the outputs of STAGE itself
  ;;
train)
  if [ -n "${STATE:-}" ]; then # resume points and MLflow's records lie where every machine finds them
    rm -rf "data/$profile/$STAGE"
    mkdir -p ".state/$profile"
    for part in "$STAGE" spool; do
      mkdir -p "$STATE/$profile/$part"
      ln -sfn "$STATE/$profile/$part" ".state/$profile/$part"
    done
  fi
  node=${SKYPILOT_NODE_RANK:-${SLURM_NODEID:-0}}
  # Whoever stops a machine signals all of its processes: torchrun waits for its own, and this shell for torchrun,
  # whose exit code does not tell.
  trap 'stopped=143' TERM
  code=0
  torchrun --nnodes="1:$NODES" --nproc-per-node="$PROCESSES" --max-restarts=3 --shutdown-timeout=100 \
    --rdzv-backend=c10d --rdzv-id="$RUN" --rdzv-endpoint="$HEAD:29400" \
    --rdzv-conf="is_host=$((node == 0)),join_timeout=900" \
    -m tinygptv.steps "$STAGE" || code=$?
  exit "${stopped:-$code}"
  ;;
keep)
  [ -d "data/$profile/$STAGE" ] || exit 0 # the main process was on another machine: torchrun chooses it
  dvc commit --force "$STAGE"
  dvc push "$STAGE"
  if [ -n "${STATE:-}" ]; then # dvc.lock says what was pushed; put it into your checkout, and `dvc pull` brings it
    cp dvc.lock "$STATE/$profile/dvc.lock"
    rm -rf "${STATE:?}/$profile/$STAGE"
  fi
  ;;
*)
  echo "node.sh: say install, train or keep" >&2
  exit 2
  ;;
esac
