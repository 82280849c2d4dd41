"""A git and DVC project of four quick steps, whose scripts write what the real steps write, with nothing but Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.in_process import dvc

STEP = """\
import json, os, pathlib, struct, sys, time

step, profile = sys.argv[1:]
data = pathlib.Path("data", profile)
drift = 0.5 if step in os.environ.get("DRIFT", "").split() else 0.0
size = json.loads(pathlib.Path("configs", profile + ".yaml").read_text())["size"]
if os.environ.get("FAIL") == step:
    print("half way")
    sys.exit(step + ": mend me")
if os.environ.get("WAIT") == step:
    pathlib.Path(os.environ["WAIT_FILE"]).write_text(str(os.getpid()))
    time.sleep(600)


def tensors(path, values):
    raw = struct.pack(f"<{len(values)}f", *values)
    entry = {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, len(raw)]}
    header = json.dumps({"layer.weight": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + raw)


def values(path):
    raw = path.read_bytes()[8:]
    raw = raw[raw.index(b"}}") + 2:]
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


out = data / step
if step == "evaluate":
    report = pathlib.Path("reports", profile, "evaluate.json")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps({"sum": sum(values(data / "stage2" / "trained.safetensors")) + drift}))
    sys.exit()
out.mkdir(parents=True)
if step == "shards":
    tensors(out / "train.safetensors", [float(n) for n in range(size)])
    (out / "view.json").write_text("{}")
else:
    source = data / ("shards/train.safetensors" if step == "stage1" else "stage1/trained.safetensors")
    made = [value * 2 for value in values(source)]
    made[3] += drift
    tensors(out / "trained.safetensors", made)
    trace = [{"step": n, "loss": 1 / n + (drift if n > 2 else 0), "batch": f"{n:016x}"} for n in range(1, 5)]
    (out / "trace.jsonl").write_text("".join(json.dumps(point) + chr(10) for point in trace))
    (out / "manifest.json").write_text(json.dumps({"stage": step, "environment": {"torch": "1.0", "cores": 2}}))
"""
DVC_YAML = """\
stages:
  shards:
    cmd: '"$TINYGPTV_PYTHON" scripts/step.py shards ${profile}'
    deps: [scripts/step.py]
    params: [{"configs/${profile}.yaml": [size]}]
    outs: ["data/${profile}/shards"]
  stage1:
    cmd: '"$TINYGPTV_PYTHON" scripts/step.py stage1 ${profile}'
    deps: [src/code.py, "data/${profile}/shards/view.json"]
    outs: ["data/${profile}/stage1"]
  stage2:
    cmd: '"$TINYGPTV_PYTHON" scripts/step.py stage2 ${profile}'
    deps: ["data/${profile}/stage1"]
    outs: ["data/${profile}/stage2"]
  evaluate:
    cmd: '"$TINYGPTV_PYTHON" scripts/step.py evaluate ${profile}'
    deps: ["data/${profile}/stage2"]
    metrics: ["reports/${profile}/evaluate.json": {cache: false}]
  register:
    cmd: "true"
    deps: ["reports/${profile}/evaluate.json"]
"""
FILES = {
    "scripts/step.py": STEP,
    "dvc.yaml": DVC_YAML,
    "params.yaml": "# the switch\nprofile: tiny\nseed: 7\n",
    "configs/tiny.yaml": '{"size": 8}\n',
    "configs/other.yaml": '{"size": 6}\n',
    "src/code.py": "one = 1\n",
    ".gitignore": "/data/\n/.state/\n",
}
HERE = {"torch": "1.0", "cores": 2}


def call_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def own_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC's own folders stay below ``tmp_path``; nothing of a surrounding run is inherited."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    monkeypatch.setenv("TINYGPTV_PYTHON", sys.executable)
    for name in ("DVC_ROOT", "DVC_STAGE", "TINYGPTV_PIPELINE_ID", "PREFECT_FLOW_RUN_ID", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def git() -> Callable[..., str]:
    """Call git in a folder."""
    return call_git


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with everything run once and the lock committed."""
    folder = tmp_path_factory.mktemp("template") / "project"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    call_git(folder.parent, "init", "-q", "-b", "main", str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder.parent / "site"))
        patch.setenv("TINYGPTV_PYTHON", sys.executable)
        for command in ("init", "repro"):
            dvc(folder, command, "-q")
    call_git(folder, "add", "-A")
    call_git(folder, "commit", "-q", "-m", "start")
    return folder


@pytest.fixture
def project(tmp_path: Path, template: Path) -> Path:
    """A copy of the project."""
    return Path(shutil.copytree(template, tmp_path / "project"))
