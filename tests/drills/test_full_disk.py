"""A really full file system, in a mount namespace of its own, under each of the things that a step writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.drills import aftermath
from tests.limits import may_mount
from tests.tracking.artifact_server import artifact_server
from tinygptv.tracking.client import Tracking
from tinygptv.tracking.registry import add_package
from tinygptv.tracking.version_tags import Lineage

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = (
    "import runpy\n"
    "from tinygptv.tracking.runs import StepRun\n"
    "StepRun._ship = lambda self: (self._tried.set(), self._done.set())\n"
    "runpy.run_module('tinygptv.steps', run_name='__main__', alter_sys=True)"
)
MOUNT = (
    'mkdir -p "$1" && mount -t tmpfs -o size="$2" tmpfs "$1" && shift 2 && "$@"; code=$?; '
    'cp -a "$KEEP" "$KEEP.kept"; exit $code'
)
"""Run a command with a small file system in a folder's place, and keep what lies there in the end."""

pytestmark = [
    pytest.mark.drills,
    pytest.mark.skipif(not may_mount(), reason="this system lets this user mount nothing"),
]


def with_small_disk(folder: Path, size: str, root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNT, "sh", str(folder), size, *command],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "DVC_ROOT": str(root), "KEEP": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def own_code(checkout) -> None:
    shutil.copytree(ROOT / "src", checkout.root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))


def full(error: str, step: str, path: str) -> None:
    """One line that names the path, the bytes that are needed, and the bytes that are free."""
    pattern = (
        rf"{step}: reading or writing files: no space left on the disk of \S*{path}: (?P<needed>[\d,]+) bytes are "
        r"needed, (?P<free>[\d,]+) are free; free some and run the command again\n"
    )
    found = re.fullmatch(pattern, error)
    assert found, error
    assert int(found["needed"].replace(",", "")) > 0


@pytest.mark.drill(4, "disk full while a resume point is written")
@pytest.mark.parametrize(("size", "kept"), [("32k", 0), ("96k", 4)])
def test_no_room_for_a_resume_point(checkout, with_stage1, run, size, kept):
    """32 kB do not hold one point; 96 kB hold the first, which must survive the attempt at the second."""
    own_code(checkout)
    shutil.rmtree(checkout.data / "stage1")
    state = checkout.state / "stage1"
    done = with_small_disk(state, size, checkout.root, sys.executable, "-c", OFFLINE, "stage1")
    assert done.returncode == 2, done.stdout + done.stderr
    full(done.stderr, "stage1", r"/\.step-0000000\d\.tmp/tensors\.safetensors")
    assert not aftermath.published(checkout, "stage1")
    kept_state = state.with_name("stage1.kept")
    assert max(map(aftermath.whole_point, kept_state.glob("*/step-*")), default=0) == kept


@pytest.mark.drill(4, "disk full while records for MLflow are written")
def test_no_room_for_the_spool(checkout):
    own_code(checkout)
    before = checkout.outputs()
    spool = checkout.state / "spool"
    done = with_small_disk(spool, "4k", checkout.root, sys.executable, "-c", OFFLINE, "stage1")
    assert done.returncode == 2, done.stderr
    full(done.stderr, "stage1", r"/spool/stage1-\w+\.jsonl")
    assert checkout.outputs() == before


@pytest.mark.drill(4, "disk full while DVC takes a result into its cache")
def test_no_room_in_the_cache(checkout, tmp_path, monkeypatch):
    from tests.drills.projects import dvc, with_dvc

    root = with_dvc(checkout.root, tmp_path / "outside", monkeypatch)
    dvc(root, "commit", "-f", "shards")
    before = checkout.outputs()
    repro = (sys.executable, "-m", "dvc", "repro", "-s", "-f", "shards")
    done = with_small_disk(root / ".dvc" / "cache", "64k", root, *repro)
    assert done.returncode != 0, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines(keepends=True) if line.startswith("shards: ")]
    full(line, "shards", r"/\.dvc/cache")
    dvc(root, "checkout", "shards")  # DVC removes an output before its step runs
    assert checkout.outputs() == before


@pytest.mark.drill(4, "temporary folder full while a model of the registry is opened")
@pytest.mark.parametrize("command", ["serve", "ask"])
def test_no_room_for_a_copy_of_a_model(registered, tmp_path, command):
    """A store on a server, as `ask` copies from it, and the copy that `serve` makes of any store."""
    root, name, far = registered
    temporary = tmp_path / "temporary"
    image = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(image)
    source = f"models:/{name}/{2 if command == 'ask' else 1}"
    arguments = {"serve": ["serve", source, "--port", "0"], "ask": ["ask", str(image), "what?", "--model", source]}
    program = [sys.executable, "-m", "tinygptv.cli", *arguments[command]]
    done = with_small_disk(temporary, "64k", root, "env", f"TMPDIR={temporary}", *program)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("tinygptv: ")]
    assert re.fullmatch(
        rf"tinygptv: copying {source} to the temporary folder \(TMPDIR\): no space left on the disk of "
        rf"{temporary}/\S+: [1-9][\d,]+ bytes are needed, [\d,]+ are free; free some and run the command again",
        line,
    ), line
    assert "Traceback" not in done.stderr
    assert not [path for path in (tmp_path / "temporary.kept").rglob("*") if path.is_file()]
    assert far.bytes == 0


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """A checkout with a model: version 1 in the store of this disk, version 2 on a server; gives the server, too."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root, package = tmp_path / "checkout", tmp_path / "package"
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (root / "dvc.yaml").write_text("stages: {}\n")
    package.mkdir()
    (package / "model.safetensors").write_bytes(bytes(200_000))
    tracking, name = Tracking.connect(root), "tinygptv-full"
    add_package(
        tracking,
        name,
        package,
        Lineage(profile="tiny", git_sha="c" * 40, digests={}, quantized={}, unquantized={}, run_id=""),
    )
    (described,) = (root / "mlartifacts").rglob("MLmodel")
    with artifact_server(described.parent) as server:
        tracking.mlflow.create_model_version(name, server.url)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield root, name, server
