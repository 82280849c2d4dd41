"""What every step gets from the harness: alone, all or nothing, stoppable, in the right checkout."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.drills.projects import record
from tinygptv.ground import processes
from tinygptv.ground.dvc import dvc_md5
from tinygptv.ground.errors import DataError
from tinygptv.ground.processes import Interrupted
from tinygptv.ground.signals import StopRequest

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = (
    "from tinygptv.tracking.runs import StepRun\nStepRun._ship = lambda self: (self._tried.set(), self._done.set())\n"
)
"""Before a step in a process of its own, where the records do not matter: MLflow takes seconds to import."""


@pytest.fixture
def step(monkeypatch):
    """Put a step of the test's own in the place of ``shards``."""

    def put(run):
        module = types.ModuleType("tinygptv.steps.shards")
        module.run = run
        monkeypatch.setitem(sys.modules, "tinygptv.steps.shards", module)

    return put


def half(context):
    """What a step may have written when it fails."""
    (context.out / "half").write_text("half")
    context.report("half.json").write_text("{}")
    (context.state / "point").write_text("resume here")


def test_an_error_publishes_nothing_and_leaves_nothing_to_a_next_run(shards_checkout, step, run, refused):
    def failing(context):
        half(context)
        raise DataError("record 7 is wrong; mend it")

    step(failing)
    assert refused(shards_checkout, "shards", "record 7") == "shards: record 7 is wrong; mend it\n"
    assert (shards_checkout.state / "shards" / "point").exists()

    step(lambda context: (context.out / "whole").write_text("whole"))
    assert run(shards_checkout, "shards") == 0
    assert [path.name for path in (shards_checkout.data / "shards").iterdir()] == ["whole"]
    assert not (shards_checkout.root / "reports").exists()
    assert not (shards_checkout.state / "staging" / "shards").exists()
    assert not (shards_checkout.state / "shards").exists()


def test_a_bug_is_not_dressed_up_and_publishes_nothing(shards_checkout, step, run):
    def failing(context):
        half(context)
        raise RuntimeError("bug")

    before = shards_checkout.outputs()
    step(failing)
    with pytest.raises(RuntimeError, match="bug"):
        run(shards_checkout, "shards")
    assert shards_checkout.outputs() == before


def test_success_replaces_data_and_reports(shards_checkout, step, run):
    reports = shards_checkout.root / "reports" / "smoke"
    reports.mkdir(parents=True)
    (reports / "half.json").write_text("old")
    (reports / "other.json").write_text("other")
    step(half)
    assert run(shards_checkout, "shards") == 0
    assert [path.name for path in (shards_checkout.data / "shards").iterdir()] == ["half"]
    assert {path.name: path.read_text() for path in reports.iterdir()} == {"half.json": "{}", "other.json": "other"}
    assert sorted(path.name for path in shards_checkout.data.iterdir()) == ["download", "shards"]


def test_a_step_that_runs_already(shards_checkout, refused, run):
    """A second process holds the lock; when it dies, the kernel lets go."""
    lock = shards_checkout.state / "locks" / "shards.lock"
    code = (
        "import fcntl, os, sys\n"
        "file = open(sys.argv[1], 'a+')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "file.truncate(0); file.write(str(os.getpid())); file.flush()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        refused(shards_checkout, "shards", f"runs already (PID {holder.pid})", f"`kill {holder.pid}`")
        holder.kill()
        holder.wait()
        assert run(shards_checkout, "shards") == 0
    with lock.open("a+") as file:  # and this process has let go of it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_other_steps_may_run_beside_it(shards_checkout, step, run):
    def while_running(context):
        from tinygptv.ground.locks import only_one

        with only_one(context.state.parent / "locks" / "features.lock", "features"):
            (context.out / "done").touch()

    step(while_running)
    assert run(shards_checkout, "shards") == 0


def test_code_of_another_checkout(shards_checkout):
    """Another checkout's code would write results that this one's lock then vouches for."""
    done = subprocess.run(
        [sys.executable, "-m", "tinygptv.steps", "shards"],
        env={**os.environ, "DVC_ROOT": str(shards_checkout.root), "PYTHONPATH": str(ROOT / "src")},
        cwd=shards_checkout.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("shards: the code of ")
    assert done.stderr.endswith(f"set PYTHONPATH={shards_checkout.root / 'src'}\n")
    assert done.stderr.count("\n") == 1


def test_outside_a_checkout(tmp_path, monkeypatch, capsys):
    from tinygptv.steps import __main__ as entry

    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["steps", "shards"])
    assert entry.main() == 2
    error = capsys.readouterr().err
    assert error == f"shards: no dvc.yaml in {tmp_path} or above it; run the command inside the checkout\n"


def test_an_unknown_step_is_refused_with_the_list(monkeypatch, capsys):
    from tinygptv.steps import __main__ as entry

    monkeypatch.setattr(sys, "argv", ["steps", "nix"])
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == 2
    assert "stage4" in capsys.readouterr().err


SLEEPING = """
import os, sys, time, types
module = types.ModuleType("tinygptv.steps.shards")
def run(context):
    (context.out / "half").write_text("half")
    os.write(1, b"ready\\n")  # not print: a signal while it flushes leaves its buffer to be written once more
    time.sleep(600)
module.run = run
sys.modules["tinygptv.steps.shards"] = module
"""


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "SIGINT")])
def test_a_signal_stops_a_step_at_once(shards_checkout, start, number, code, name):
    before = shards_checkout.outputs()
    process = start(shards_checkout, "shards", before=OFFLINE + SLEEPING)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert error == f"shards: stopped by {name}; run the command again to go on\n"
    assert shards_checkout.outputs() == before


def test_a_step_whose_lines_nobody_reads_any_more_goes_on(shards_checkout, with_shards, start):
    waiting = "import sys; print('here', flush=True); sys.stdin.readline()"
    process = start(shards_checkout, "shards", before=f"{OFFLINE}\n{waiting}")
    assert process.stdout.readline() == "here\n"
    process.stdout.close()
    process.stdout = None
    process.communicate("go\n", timeout=120)
    assert process.returncode == 0
    assert shards_checkout.outputs() == with_shards.outputs()


def test_a_step_dies_with_the_process_that_started_it(shards_checkout, start):
    """As when somebody kills DVC: nothing is left running, nothing is published."""
    child = start(shards_checkout, "shards", before=OFFLINE + SLEEPING)  # its arguments are those of the parent's child
    child.kill()
    child.communicate()
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "print(child.stdout.readline() and child.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    before = shards_checkout.outputs()
    with subprocess.Popen(
        [sys.executable, "-c", code, *child.args],
        cwd=shards_checkout.root,
        env={**os.environ, "PYTHONPATH": str(shards_checkout.root / "src"), "DVC_ROOT": str(shards_checkout.root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        parent.kill()
        import select

        assert select.select([handle], [], [], 60)[0], "the step outlived its parent"
        os.close(handle)
    assert shards_checkout.outputs() == before


@pytest.fixture
def request_to_stop():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield StopRequest.install()
    for number, handler in before.items():
        signal.signal(number, handler)
    processes.ctypes.CDLL(None).prctl(processes.PR_SET_PDEATHSIG, 0)


def test_a_signal_between_safe_points_waits_for_the_next(request_to_stop):
    stop = request_to_stop
    stop.check()
    with stop.safe_points():
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        signal.raise_signal(signal.SIGINT)  # a second one changes nothing
        assert stop.number == signal.SIGTERM
        with pytest.raises(Interrupted, match="SIGTERM") as stopped:
            stop.check()
    assert stopped.value.exit_code == 143


def test_a_second_signal_does_not_disturb_the_first(request_to_stop):
    with pytest.raises(Interrupted, match="SIGINT") as stopped:
        signal.raise_signal(signal.SIGINT)
    assert stopped.value.exit_code == 130
    signal.raise_signal(signal.SIGTERM)
    assert request_to_stop.number == signal.SIGINT


def test_no_handler_for_errors_swallows_a_stop():
    assert not issubclass(Interrupted, Exception)


def test_mlflow_that_cannot_be_reached_does_not_fail_a_step(shards_checkout, with_shards, start):
    shutil.rmtree(shards_checkout.data / "shards")
    process = start(shards_checkout, "shards", env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    complaint = error.splitlines()[-1]
    assert complaint.startswith("tracking: http://127.0.0.1:9 did not take the records")
    assert "python -m tinygptv.tracking ship" in complaint
    assert "Traceback" not in error
    assert shards_checkout.outputs() == with_shards.outputs()
    assert list((shards_checkout.state / "spool").glob("*.jsonl"))


def test_of_an_input_the_part_that_a_step_depends_on_is_looked_at_and_on_record(
    shards_checkout, step, run, refused, monkeypatch
):
    record(shards_checkout.root, "download")
    monkeypatch.setenv("DVC_STAGE", "shards")
    name, folder = "init.json", shards_checkout.data / "download"
    part, other = folder / name, folder / "other"
    seen = []

    def use(context):
        monkeypatch.setattr(type(context.run), "dataset", lambda _, *facts: seen.append(facts), raising=True)
        assert context.input("download", name) == context.input("download", name) == folder
        (context.out / "done").touch()

    step(use)
    other.write_text("what the step does not use")
    assert run(shards_checkout, "shards") == 0
    assert seen == [("download", part, dvc_md5(part), "shards", {"num_bytes": part.stat().st_size})]
    part.write_bytes(part.read_bytes() + b" ")
    refused(shards_checkout, "shards", f"{part} is damaged, or changed by hand", "tinygptv doctor --deep")
    part.unlink()
    refused(shards_checkout, "shards", f"{part} is missing", "dvc repro download")
