"""Two clean runs that share nothing but the inputs: the same bytes of every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drills.clean_run import RUN

ROOT = Path(__file__).resolve().parents[2]
WORLDS = (
    {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "0", "umask": "022", "host": "one", "HOME": "/root"},
    {"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4711", "umask": "077", "host": "two", "HOME": "/"},
)
RENAMED = ["unshare", "-r", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"']
CALLED = (
    "import platform, runpy, socket, sys\n"
    "name = sys.argv.pop(1)\n"
    "platform.node = socket.gethostname = lambda: name\n"
    "runpy.run_module('tests.drills.clean_run', run_name='__main__', alter_sys=True)"
)


def may_rename() -> bool:
    return subprocess.run([*RENAMED, "x", "true"], capture_output=True, check=False).returncode == 0


def clean_run(folder: Path, world: dict[str, str]) -> dict:
    """All steps in a folder of their own, in one of the worlds."""
    env = {**os.environ, **{name: value for name, value in world.items() if name.isupper()}}
    named = [*RENAMED, world["host"], sys.executable, "-m", "tests.drills.clean_run"]
    patched = [sys.executable, "-c", CALLED, world["host"]]  # where this user may rename no machine
    program = named if may_rename() else patched
    done = subprocess.run(
        [*program, str(folder), "--umask", world["umask"]],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.drills
@pytest.mark.drill(8, "two clean runs: other folder, hash seed, locale, time zone, umask, host", trials=2)
def test_two_clean_runs_give_the_same_bytes(tmp_path):
    one, two = (clean_run(tmp_path / name / "below", world) for name, world in zip("ab", WORLDS, strict=True))
    for fact in ("host", "zone", "hash", "umask", "locale"):
        assert one["seen"][fact] != two["seen"][fact], fact
    assert {name.split("/")[2] for name in one["digests"] if name.startswith("data/")} >= set(RUN)
    assert [name for name in one["digests"] if one["digests"][name] != two["digests"].get(name)] == []
    assert one["digests"] == two["digests"]
