"""Checkouts with git and DVC, for drills that go through ``dvc repro``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinygptv.ground.dvc import cache_folder, dvc_md5, object_file

ROOT = Path(__file__).resolve().parents[2]
CODE = ("src", "scripts", "flows", "configs/backbones.lock.json", "dvc.yaml")


def with_dvc(root: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, code: tuple[str, ...] = CODE) -> Path:
    """Make a small checkout one in which ``dvc repro`` works: code, git with a commit, DVC with its folders aside."""
    for name in code:
        source, target = ROOT / name, root / name
        if source.is_dir() and not target.exists():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.is_file():
            shutil.copy(source, target)
    (root / ".gitignore").write_text("/data/\n/.state/\n/.prefect/\n/mlflow.db\n/mlartifacts/\n__pycache__/\n")
    (root / ".dvcignore").write_text("__pycache__/\n*.pyc\n")
    for name, value in {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(outside / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(outside / "global"),
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TINYGPTV_PYTHON": sys.executable,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("DVC_ROOT", "DVC_STAGE", "TINYGPTV_PIPELINE_ID", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    git(root, "init", "-q", "-b", "main")
    dvc(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "start")
    return root


def record(root: Path, *steps: str) -> None:
    """Write a ``dvc.lock`` that has these steps' outputs as they are, and DVC's lists of their files, without DVC."""
    paths = {step: f"data/smoke/{step}" for step in steps}
    for path in paths.values():
        files = sorted(file for file in (root / path).rglob("*") if file.is_file())
        listing = object_file(cache_folder(root), dvc_md5(root / path))
        listing.parent.mkdir(parents=True, exist_ok=True)
        names = [{"md5": dvc_md5(file), "relpath": file.relative_to(root / path).as_posix()} for file in files]
        listing.write_text(json.dumps(names))
    stages = {step: {"cmd": "x", "outs": [{"path": path, "md5": dvc_md5(root / path)}]} for step, path in paths.items()}
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True)


def dvc(root: Path, *arguments: str, code: int = 0) -> str:
    """Call DVC, expect an exit code, and give back all that it says."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said
