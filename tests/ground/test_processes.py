from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tinygptv.ground.processes import guarded

# A shell that starts a grandchild in a session of its own, writes both process ids and waits.
FAMILY = (
    "setsid sh -c 'echo $$ > b; exec sleep 600' & echo $$ > a; while [ ! -s b ]; do sleep 0.05; done; echo up; wait"
)


def wait_for(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def family(folder: Path) -> list[int]:
    return [int((folder / name).read_text()) for name in ("a", "b")]


@pytest.mark.parametrize(("code", "expected"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_command_s(code, expected):
    assert subprocess.run(guarded(["sh", "-c", code]), check=False).returncode == expected


def test_orphans_are_ended_when_the_command_ends(tmp_path):
    command = FAMILY.removesuffix("; wait")
    subprocess.run(guarded(["sh", "-c", command]), cwd=tmp_path, check=True)
    assert all(gone(pid) for pid in family(tmp_path))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_guard_leaves_nothing(tmp_path, number, code):
    guard = subprocess.Popen(guarded(["sh", "-c", FAMILY]), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert guard.stdout is not None
    assert guard.stdout.readline() == "up\n"
    guard.send_signal(number)
    assert guard.wait(20) == code
    assert all(gone(pid) for pid in family(tmp_path))
    guard.stdout.close()


def test_a_guard_dies_with_its_parent(tmp_path):
    code = (
        "import subprocess; from tinygptv.ground.processes import guarded; "
        f"subprocess.run(guarded(['sh', '-c', {FAMILY!r}]))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "b").is_file() and (tmp_path / "b").read_text().strip())
    guard = psutil.Process(parent.pid).children()[0].pid
    parent.kill()
    parent.wait()
    wait_for(lambda: all(gone(pid) for pid in [guard, *family(tmp_path)]))


def test_a_guard_whose_parent_was_gone_before_it_asked_starts_nothing(tmp_path):
    command = guarded(["touch", str(tmp_path / "started")])
    command[command.index("--parent") + 1] = str(2**22 + 1)  # no process has it
    assert subprocess.run(command, check=False).returncode == 143
    assert not (tmp_path / "started").exists()


def test_sigkill_follows_where_sigterm_is_ignored(tmp_path):
    code = (
        "import sys; from tinygptv.ground.processes import run_guarded;"
        "sys.exit(run_guarded(['sh', '-c', 'trap \"\" TERM; echo up; sleep 600 & wait; sleep 600'], grace=0.2))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    guard = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
    assert guard.stdout is not None
    assert guard.stdout.readline() == "up\n"
    children = psutil.Process(guard.pid).children(recursive=True)
    guard.terminate()
    assert guard.wait(20) == 143
    assert all(gone(child.pid) for child in children)
    guard.stdout.close()
