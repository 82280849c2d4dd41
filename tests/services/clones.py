"""A clone of this checkout that runs its smallest real profile, with servers of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = ("MLFLOW_", "PREFECT_", "AWS_", "DVC_", "BOTO_", "WEED_", "PG")
OTHERS = ("TINYGPTV_PIPELINE_ID", "VIRTUAL_ENV", "PYTHONPATH")
MODEL = "tinygptv-smoke"


@dataclass(frozen=True)
class Clone:
    """A clone of the last commit."""

    root: Path
    env: Mapping[str, str]

    def call(self, *words: str, code: int = 0, **env: str) -> str:
        """``python -m ...`` in the clone; all that it says."""
        env = {**self.env, "PYTHONPATH": str(self.root / "src"), **env}
        return run_module(self.root, env, words, code, 1500)

    def git(self, *words: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=self.root, check=True)


def run_module(root: Path, env: Mapping[str, str], words: Sequence[str], code: int, seconds: float) -> str:
    """``python -m ...`` in a folder; all that it says. Another exit code fails, with the ends of the servers' logs."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=root,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == code, done.stdout + logs_of(root)
    return done.stdout


def logs_of(root: Path) -> str:
    """The end of each log of servers and stores, for a failure."""
    files = sorted(root.glob(".state/services/*.log")) + sorted(root.glob(".state/team/*.log"))
    return "".join(f"\n--- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


def smoke_clone(folder: Path, ports: Mapping[str, int]) -> Clone:
    """A clone whose own profile is smoke, committed; nothing of the caller's other servers reaches it.

    Args:
        folder: where it and what DVC keeps outside of it go.
        ports: free ones by the name of who listens.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN) and name not in OTHERS}
    env |= {
        "TINYGPTV_PYTHON": sys.executable,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
        **{f"TINYGPTV_{name}_PORT": str(port) for name, port in ports.items()},
    }
    clone = Clone(folder / "clone", env)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone.root)], check=True)
    params = clone.root / "params.yaml"
    params.write_text(params.read_text().replace("profile: tiny", "profile: smoke"))
    shutil.rmtree(clone.root / "reports" / "smoke", ignore_errors=True)
    clone.git("commit", "-q", "-a", "-m", "smoke")
    return clone
