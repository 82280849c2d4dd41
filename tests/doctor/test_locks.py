from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys

import pytest

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def lock(checkout):
    return checkout / ".dvc" / "tmp" / "rwlock"


@pytest.fixture
def sleeper():
    """Start a process that sleeps; a further argument is what shows in its command line."""
    started = []

    def start(*arguments: str) -> int:
        started.append(subprocess.Popen([sys.executable, "-c", SLEEP, *arguments]))
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def held_by(pid: int) -> str:
    info = {"pid": pid, "cmd": "dvc repro"}
    return json.dumps({"write": {"/x": info}, "read": {"/y": [info]}})


def test_free(checkout, found, lock):
    assert found(checkout, "DVC's lock").finding == "free"
    lock.write_text("{}")
    for name in ("lock", "rwlock.lock"):
        (lock.parent / name).write_text("999999\n")  # left behind: without the kernel's lock it means nothing
    assert found(checkout, "DVC's lock").finding == "free"


def test_left_by_a_process_that_is_gone(checkout, found, lock):
    with subprocess.Popen(["true"]) as ended:
        pass
    lock.write_text(held_by(ended.pid))
    check = found(checkout, "DVC's lock")
    assert (check.level, check.fix) == ("warning", f"rm {lock}")
    assert "gone" in check.finding


def test_held_by_a_dvc_at_work(checkout, found, lock, sleeper):
    pid = sleeper("dvc", "repro")
    lock.write_text(held_by(pid))
    check = found(checkout, "DVC's lock")
    assert (check.level, check.finding) == ("warning", f"held by PID {pid}")
    assert f"`kill {pid}`" in check.fix


def test_a_number_that_another_program_has_now(checkout, found, lock, sleeper):
    pid = sleeper()
    lock.write_text(held_by(pid))
    check = found(checkout, "DVC's lock")
    assert (check.level, check.fix) == ("problem", f"rm {lock}")
    assert str(pid) in check.finding


def test_a_zombie(checkout, found, lock):
    with subprocess.Popen([sys.executable, "-c", "", "dvc"], stdout=subprocess.DEVNULL) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # ended, but not yet collected
        lock.write_text(held_by(zombie.pid))
        check = found(checkout, "DVC's lock")
    assert check.level == "problem"
    assert "a zombie" in check.finding


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": {}}', '{"write": {"/x": {}}}', '{"read": 3}', "\x00\x00"])
def test_damaged(checkout, found, lock, content):
    lock.write_text(content)
    check = found(checkout, "DVC's lock")
    assert (check.level, check.fix) == ("problem", f"rm -rf {lock}")


@pytest.mark.parametrize("name", ["lock", "rwlock.lock"])
def test_the_kernel_s_locks(checkout, found, lock, name):
    path = lock.parent / name
    with path.open("w") as file:
        file.write("4711\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        check = found(checkout, "DVC's lock")
    assert (check.level, check.finding) == ("warning", f"{name} is held by PID 4711")
    assert found(checkout, "DVC's lock").finding == "free"
    path.unlink()
    path.mkdir()
    assert found(checkout, "DVC's lock").fix == f"rm -rf {path}"
