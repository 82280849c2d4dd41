"""deploy/sky.yaml, slurm.sh and node.sh with stubs in place of the programs that they call: forms, calls, endings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.cli.parser import get_main_parser
from jsonschema import Draft202012Validator
from torch.distributed.run import get_args_parser

from tests.documents import check
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy"
SKY = read_yaml(FOLDER / "sky.yaml")
SCHEMA = json.loads((Path(__file__).parent / "sky.schema.json").read_text())
SLURM = (FOLDER / "slurm.sh").read_text()
CALLS = 'IFS="\t"; echo "${0##*/}\t$*" >> "$CALLS"\n'
STOPPED = 'kill -TERM "$PPID"; sleep 0.5\n' + CALLS + "exit 1\n"
"""As Slurm does it: the shell around torchrun is signalled with it. Then a point is saved, which takes time."""
STUBS = {
    "srun": 'shift; code=0; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@" || code=$?; done; exit $code\n',
    "scontrol": CALLS + '[ "$1" = requeue ] || printf "one\\ntwo\\n"\n',
    **dict.fromkeys(("make", "dvc", "torchrun", "python3.11"), CALLS),
}


class Launch:
    """A small git checkout, and stubs before everything else on the PATH."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls_file = root / "checkout", root / "calls"
        shutil.copytree(FOLDER, self.root / "deploy")
        (self.root / "params.yaml").write_text("profile: smoke\nseed: 7\n")
        (self.root / "dvc.lock").write_text("schema: '2.0'\n")
        subprocess.run(["git", "init", "-q", self.root], check=True)
        self.env = {"PATH": f"{root}:{os.environ['PATH']}", "HOME": str(root), "CALLS": str(self.calls_file)}
        for name, text in STUBS.items():
            self.stub(name, text)

    def stub(self, name: str, text: str) -> None:
        in_venv = name in ("dvc", "torchrun")
        path = (self.root / ".venv" / "bin" if in_venv else self.root.parent) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}")
        path.chmod(0o755)

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", script]
        return subprocess.run(command, cwd=self.root, env=self.env | env, capture_output=True, text=True, check=False)

    def sky(self, part: str, state: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """``setup`` or ``run`` of sky.yaml, with the variables that SkyPilot sets."""
        given = {name: value for name, value in SKY["envs"].items() if value is not None}
        given |= {"STAGE": "stage2", "REMOTE": "s3://bucket/dvc", "SKYPILOT_NODE_RANK": "0", "SKYPILOT_NUM_NODES": "2"}
        given |= {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_GPUS_PER_NODE": "8"}
        given |= {"SKYPILOT_TASK_ID": "sky-7"} | env
        return self.run(SKY[part].replace("=/state", f"={state}"), **given)

    def slurm(self, **env: str) -> subprocess.CompletedProcess[str]:
        """slurm.sh, with the variables that Slurm sets."""
        given = {
            "STAGE": "stage3",
            "SLURM_SUBMIT_DIR": str(self.root),
            "SLURM_JOB_ID": "41",
            "SLURM_JOB_NUM_NODES": "2",
        }
        return self.run(SLURM, **given, SLURM_GPUS_ON_NODE="4", SLURM_JOB_NODELIST="node[1-2]", **env)

    def calls(self) -> list[list[str]]:
        """What was called so far."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.is_file() else []
        self.calls_file.write_text("")
        return [line.split("\t") for line in lines]


@pytest.fixture
def launch(tmp_path):
    return Launch(tmp_path)


def problems(task):
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(task)]


def test_the_task_is_of_skypilots_form():
    Draft202012Validator.check_schema(SCHEMA)
    assert problems(SKY) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 2},
        {"num_nodes": "2"},
        {"resources": {"use_spots": True}},
        {"resources": {"accelerators": 8}},
        {"resources": {"any_of": [{"cloudy": "aws"}]}},
        {"resources": {"job_recovery": {"max_restarts": 3}}},
        {"file_mounts": {"/state": {"source": "s3://b", "mode": "CACHED"}}},
        {"envs": {"STAGE": 1}},
        {"envs": {"a stage": "1"}},
        {"run": ["train"]},
    ],
)
def test_a_wrong_key_or_value_of_the_task_is_seen(wrong):
    assert problems(SKY | wrong) != []


def test_the_scripts_are_bash():
    for text in (SLURM, (FOLDER / "node.sh").read_text(), SKY["setup"], SKY["run"]):
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    for name in ("node.sh", "slurm.sh"):
        assert os.access(FOLDER / name, os.X_OK)


def test_what_the_task_names_is_given():
    filled = set(re.findall(r"\$\{(\w+)\}", json.dumps({key: SKY[key] for key in ("file_mounts", "workdir")})))
    assert filled <= SKY["envs"].keys()
    told = (FOLDER / "sky.yaml").read_text().partition("name:")[0]
    needed = [name for part in ("envs", "secrets") for name, value in SKY[part].items() if value is None]
    assert [name for name in needed if f"--env {name}=" not in told and f"--secret {name}" not in told] == []


def checked(call):
    """Fail where a program would not know the call; what torchrun is told, else None."""
    program, *words = call
    if program == "dvc":
        assert set(getattr(get_main_parser().parse_args(words), "targets", None) or ()) <= set(STAGES)
    elif program == "torchrun":
        told = get_args_parser().parse_args(words)
        assert told.module and told.training_script == "tinygptv.steps"
        assert told.training_script_args[0] in STAGES
        return told
    elif program == "make":
        check(call)
    return None


def test_sky_installs_trains_and_keeps(launch, tmp_path):
    state = tmp_path / "state"
    assert launch.sky("setup", state).returncode == 0
    install = launch.calls()
    assert [call[0] for call in install] == ["make", "dvc", "dvc", "dvc"]
    assert install[1][-2:] == ["launched", "s3://bucket/dvc"] and install[-1][-1] == "stage2"
    point = state / "smoke" / "stage2" / "point"
    launch.stub("torchrun", CALLS + "touch .state/smoke/stage2/point .state/smoke/spool/events\n")
    (launch.root / "data" / "smoke" / "stage2").mkdir(parents=True)  # of an earlier run, which DVC pulled
    assert launch.sky("run", state, SKYPILOT_NODE_RANK="1").returncode == 0
    (call,) = launch.calls()
    told = checked(call)
    assert (told.nnodes, told.nproc_per_node, told.rdzv_endpoint) == ("1:2", "8", "10.0.0.1:29400")
    assert (told.rdzv_id, told.rdzv_conf) == ("sky-7", "is_host=0,join_timeout=900")
    assert point.is_file() and (state / "smoke" / "spool" / "events").is_file()
    launch.stub("torchrun", CALLS + "mkdir -p data/smoke/stage2\n")  # the main process is here
    assert launch.sky("run", state).returncode == 0
    first, *kept = launch.calls()
    assert "is_host=1," in checked(first).rdzv_conf
    assert [call[1] for call in kept] == ["commit", "push"]
    assert not point.exists() and (state / "smoke" / "dvc.lock").is_file()
    for call in (*install, *kept):
        checked(call)


def test_sky_keeps_nothing_of_a_stage_that_failed(launch, tmp_path):
    launch.stub("torchrun", "exit 1\n")
    assert launch.sky("run", tmp_path / "state").returncode == 1
    assert launch.calls() == []
    launch.stub("torchrun", STOPPED)
    assert launch.sky("run", tmp_path / "state").returncode == 143


def test_slurm_installs_once_trains_on_every_machine_and_keeps(launch):
    launch.stub("torchrun", CALLS + "mkdir -p data/smoke/stage3\n")
    done = launch.slurm()
    assert (done.returncode, done.stderr) == (0, "")
    calls = launch.calls()
    assert [call[0] for call in calls] == ["scontrol", "make", "dvc", "torchrun", "torchrun", "dvc", "dvc"]
    first, second = (checked(call) for call in calls if call[0] == "torchrun")
    assert (first.nnodes, first.nproc_per_node, first.rdzv_endpoint, first.rdzv_id) == ("1:2", "4", "one:29400", "41")
    assert first.rdzv_conf.startswith("is_host=1,") and second.rdzv_conf.startswith("is_host=0,")
    assert not (launch.root / ".state").exists()  # all machines see the checkout's own
    for call in calls:
        checked(call)


def test_slurm_queues_again_what_was_stopped_and_nothing_else(launch):
    launch.stub("torchrun", STOPPED)
    assert launch.slurm().returncode == 143
    *_, first, second, last = launch.calls()
    assert (first[0], second[0], last) == ("torchrun", "torchrun", ["scontrol", "requeue", "41"])
    launch.stub("torchrun", "exit 1\n")
    assert launch.slurm().returncode == 1
    assert [call for call in launch.calls() if call[:2] == ["scontrol", "requeue"] or call[1:2] == ["commit"]] == []


def test_slurm_is_told_to_stop_in_time_and_to_queue_again():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(\S*)$", SLURM, re.MULTILINE))
    assert options["signal"] == "TERM@120" and "requeue" in options and options["open-mode"] == "append"
    assert options["ntasks-per-node"] == "1"
    seconds = int(re.search(r"--shutdown-timeout=(\d+)", (FOLDER / "node.sh").read_text())[1])
    assert seconds < 120


@pytest.mark.parametrize("words", ["train", "", "trains"])
def test_a_wrong_call_is_one_line(launch, words):
    done = launch.run(f"deploy/node.sh {words}", **({} if words == "train" else {"STAGE": "stage1"}))
    assert done.returncode != 0 and len(done.stderr.splitlines()) == 1
    assert ("STAGE: is not set; say stage1" if words == "train" else "say install, train or keep") in done.stderr
