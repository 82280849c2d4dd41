"""A small DVC project of three shell steps in a git repository of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.graph import RunPlan, Step, read_graph
from tests.in_process import dvc

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]

STEP = """\
#!/bin/sh
set -e
printf '10%%\\r50%%\\r100%%\\n'
echo "$1 at work"
if [ -f "stop-$1" ]; then echo "$1: mend me" >&2; exit "$(cat "stop-$1")"; fi
if [ -f "end-$1" ]; then how="$(cat "end-$1")"; [ -f "once-$1" ] && rm "end-$1"; eval "$how"; fi
if [ -f "kill-$1" ]; then kill "-$(cat "kill-$1")" $$; fi
if [ -f "wait-$1" ]; then sleep 600; fi
while [ -f "hold-$1" ]; do sleep 0.1; done
mkdir -p "data/$2/$1" ".state/$2"
echo "$1" > "data/$2/$1/result"
printf '{"pipeline": "%s", "run_id": "run-%s", "url": "http://mlflow/%s"}' "$TINYGPTV_PIPELINE_ID" "$1" "$1" \\
  > ".state/$2/$1.json"
"""

DVC_YAML = """\
stages:
  zebra:
    cmd: ./step.sh zebra ${profile}
    params: [{"configs/${profile}.yaml": [width]}]
    outs: ["data/${profile}/zebra"]
    meta: {retries: 1, retry_delay: 0}
  last:
    cmd: ./step.sh last ${profile}
    deps: ["data/${profile}/middle"]
    outs: ["data/${profile}/last"]
  middle:
    cmd: ./step.sh middle ${profile}
    deps: ["data/${profile}/zebra"]
    outs: ["data/${profile}/middle"]
"""


def call_git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=folder, check=True)


@pytest.fixture
def git() -> Callable[..., None]:
    """Call git in a folder."""
    return call_git


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as committed, made once."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "configs").mkdir()
    (folder / "step.sh").write_text(STEP)
    (folder / "step.sh").chmod(0o755)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "params.yaml").write_text("# the switch\nprofile: tiny\nseed: 7\n")
    (folder / "configs" / "tiny.yaml").write_text("width: 1\n")
    (folder / "configs" / "other.yaml").write_text("width: 2\n")
    (folder / ".gitignore").write_text("/data/\n/.state/\n/.prefect/\n")
    call_git(folder, "init", "-q", "-b", "main")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder.parent / "site"))
        dvc(folder, "init", "-q")
    call_git(folder, "add", "-A")
    call_git(folder, "commit", "-q", "-m", "start")
    return folder


@pytest.fixture(scope="session")
def graph(template: Path) -> tuple[Step, ...]:
    """The project's steps, read once."""
    return tuple(read_graph(template))


@pytest.fixture
def project(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project; DVC's own folders stay below ``tmp_path``."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    for name in ("DVC_ROOT", "DVC_STAGE", "TINYGPTV_PIPELINE_ID"):
        monkeypatch.delenv(name, raising=False)
    return Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture
def plan(project: Path, graph: tuple[Step, ...]) -> RunPlan:
    """All steps of the project."""
    return RunPlan(root=project, profile="tiny", pipeline="p1", steps=graph, force=(), tracked=False)
