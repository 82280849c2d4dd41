"""``tinygptv verify`` on a small project, with the real DVC and git."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from tests.in_process import dvc
from tests.provenance.conftest import HERE
from tests.provenance.test_sample import FIRST
from tinygptv.ground.errors import UserError
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.provenance import verify
from tinygptv.provenance.rerun import Scratch
from tinygptv.provenance.sample import WeeklyDraw

SOURCE = Path(__file__).resolve().parents[2] / "src"
LONG = [pytest.param(number, marks=pytest.mark.drills) for number in (signal.SIGINT, signal.SIGKILL)]


@pytest.fixture
def here(monkeypatch):
    """The environment of this machine, without importing torch."""
    found = dict(HERE)
    monkeypatch.setattr(verify, "environment_here", lambda: found)
    return found


@pytest.fixture
def run(project, here, capsys):
    """Verify in the project; gives the exit code and the lines."""

    def run(*steps, lock=None, as_json=False, root=project, committed=False, sample=None):
        capsys.readouterr()  # what DVC has said before
        code = verify.run(root, steps, lock, as_json=as_json, committed=committed, sample=sample)
        assert not (root / ".state" / "worktrees" / "verify").exists()
        captured = capsys.readouterr()
        return code, captured.out if as_json else captured.out.splitlines()

    return run


def flip(path: Path, offset: int = -1) -> None:
    """Change one bit, as a failing disk does: size, time and mode stay."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.chmod(status.st_mode)


def cached(project: Path, path: str) -> Path:
    """The cache's object of a file in ``data/``."""
    folder, name = path.rsplit("/", 1)
    outs = [out for stage in read_yaml(project / "dvc.lock")["stages"].values() for out in stage.get("outs", ())]
    md5 = next(out["md5"] for out in outs if out["path"] == folder)
    objects = project / ".dvc" / "cache" / "files" / "md5"
    listed = json.loads((objects / md5[:2] / md5[2:]).read_bytes())
    inner = next(entry["md5"] for entry in listed if entry["relpath"] == name)
    return objects / inner[:2] / inner[2:]


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / ".git")
    }


def test_all_steps_but_register_are_equal_and_the_checkout_stays_as_it_was(project, run, git):
    before = everything(project)
    code, lines = run()
    assert code == 0
    assert [line.split()[:2] for line in lines] == [
        ["shards", "equal"],
        ["stage1", "equal"],
        ["stage2", "equal"],
        ["evaluate", "equal"],
    ]
    assert all(line.endswith(" s") for line in lines)
    assert everything(project) | {".state/locks/verify.lock": 0} == before | {".state/locks/verify.lock": 0}
    assert git(project, "worktree", "list").count("\n") == 1


def test_a_sample_runs_some_steps_and_makes_parts_of_long_ones_again(project, run, monkeypatch):
    took = project / ".state" / "tiny" / "stage2.json"
    took.parent.mkdir(parents=True)
    took.write_text('{"seconds": 7200.0}')
    asked, python = [], Scratch._python
    found = {"total": 24_000, "looked_at": [4, 8], "differing": ["batch of training step 5: a (lock), b (now)"]}

    def answered(self, module, *arguments, capture):
        if module != "tinygptv.provenance.parts":
            return python(self, module, *arguments, capture=capture)
        asked.append(arguments)
        assert (self.folder / "data" / "tiny" / "stage2" / "trace.jsonl").is_file(), "what it is compared with"
        return subprocess.CompletedProcess([], 0, json.dumps(found), "")

    monkeypatch.setattr(Scratch, "_python", answered)
    drawn = set()
    for week in range(4):
        code, lines = run(sample=WeeklyDraw(FIRST + timedelta(days=7 * week), 7, 1.0))
        assert code == 1 and any(line.startswith("stage2") and "2 of 24,000 parts" in line for line in lines)
        assert "  data/tiny/stage2: batch of training step 5: a (lock), b (now)" in lines
        assert lines[-1] == "in four weeks: each of 3 steps whole, once; stage2 32 of 24,000 batches (0.13%)"
        drawn |= {line.split()[0] for line in lines if " equal " in line}
    assert drawn == {"shards", "stage1", "evaluate"}
    assert asked[0] == ("stage2", "--profile", "tiny", "--day", FIRST.isoformat(), "--seed", "7")


def test_a_rerun_that_comes_out_otherwise_names_file_tensor_and_training_step(project, run, monkeypatch):
    objects = {path.name for path in (project / ".dvc" / "cache").rglob("*") if path.is_file()}
    monkeypatch.setenv("DRIFT", "stage1 evaluate")
    code, text = run("evaluate", "stage2", "stage1", as_json=True)
    assert code == 1
    found = json.loads(text)
    assert found["equal"] is False and found["profile"] == "tiny" and found["lock"] == "dvc.lock"
    states = {step["step"]: step["state"] for step in found["steps"]}
    assert list(states.items()) == [("stage1", "differs"), ("stage2", "equal"), ("evaluate", "differs")]
    words = {difference["path"]: difference["words"] for step in found["steps"] for difference in step["outputs"]}
    assert words == {
        "data/tiny/stage1/trace.jsonl": f"training step 3: loss {1 / 3} (lock), {1 / 3 + 0.5} (now)",
        "data/tiny/stage1/trained.safetensors": (
            "tensor layer.weight (F32 [8]): 1 of 8 values differ, first at [3]: 6 (lock), 6.5 (now); "
            "largest difference 0.5"
        ),
        "reports/tiny/evaluate.json": "sum: 112.0 (lock), 112.5 (now)",
    }
    assert objects == {path.name for path in (project / ".dvc" / "cache").rglob("*") if path.is_file()}


def test_a_flipped_bit_in_a_copy_of_an_input_is_named_and_the_good_copy_used(project, run):
    flip(project / "data" / "tiny" / "shards" / "train.safetensors")
    broken = cached(project, "data/tiny/stage1/trained.safetensors")
    flip(broken)
    code, lines = run("stage1", "stage2")
    assert code == 1
    assert [lines[place].split()[:2] for place in (0, 3)] == [["stage1", "differs"], ["stage2", "differs"]]
    assert lines[1].startswith("  input data/tiny/shards/train.safetensors: tensor layer.weight (F32 [8]): 1 of 8 ")
    assert "7 (lock)" in lines[1] and "(checkout)" in lines[1]
    assert lines[4].startswith("  input data/tiny/stage1/trained.safetensors: cache object files/md5/")
    assert f"{broken.name} is damaged: tensor layer.weight (F32 [8]): 1 of 8 values differ" in lines[4]
    assert lines[2] == lines[5] == "  made again from the good copy, every output has the lock's digest"
    (project / "data" / "tiny" / "stage1" / "trained.safetensors").unlink()
    code, lines = run("stage2")
    assert (code, lines[0].split()[1]) == (1, "failed")
    assert lines[1].startswith("  no good copy of data/tiny/stage1/trained.safetensors is left; remove ")


def test_a_step_that_fails_passes_its_line_on_and_the_others_go_on(run, monkeypatch):
    monkeypatch.setenv("FAIL", "stage1")
    code, lines = run("stage1", "stage2")
    assert code == 1
    assert [line.split()[:2] for line in lines] == [["stage1", "failed"], ["stage1:", "mend"], ["stage2", "equal"]]
    assert lines[1] == "  stage1: mend me"


def test_other_environment_code_and_configuration_are_told_before(project, run, here, git):
    here |= {"torch": "2.0", "gpu": "H100"}
    (project / "src" / "code.py").write_text("one = 2\n")
    (project / "configs" / "tiny.yaml").write_text('{"size": 9}\n')
    git(project, "commit", "-qam", "other")
    code, lines = run("shards", "stage1")
    assert code == 1
    assert lines[0] == "shards: configs/tiny.yaml: size: 8 (lock), 9 (now)"
    assert lines[1] == "stage1: src/code.py is another version than the lock's (modified)"
    assert lines[2] == (
        'stage1: other environment: gpu missing (lock), "H100" (here); torch "1.0" (lock), "2.0" (here); '
        "differences are expected, unless the lock is of results made here (`dvc repro -f`)"
    )
    assert lines[3].split()[:2] == ["shards", "differs"]
    assert lines[4] == "  data/tiny/shards/train.safetensors: tensor layer.weight: F32 [8] (lock), F32 [9] (now)"
    assert lines[5].split()[:2] == ["stage1", "equal"]


def test_another_profile_s_lock(project, run):
    other = project.parent / "other"
    subprocess.run(["git", "clone", "-q", str(project), str(other)], check=True)
    (other / "dvc.lock").unlink()
    (other / "params.yaml").write_text("profile: other\nseed: 7\n")
    dvc(other, "cache", "dir", "-q", "--local", str(project / ".dvc" / "cache"))
    dvc(other, "repro", "-q", "shards")
    code, lines = run(lock=other / "dvc.lock")
    assert (code, [line.split()[:2] for line in lines]) == (0, [["shards", "equal"]])


@pytest.mark.parametrize(
    ("names", "lock", "message"),
    [
        (["stage9"], None, "dvc.lock has no such step; it has shards, stage1, stage2, evaluate"),
        (["register"], None, "register has no outputs"),
        ([], "nix.lock", "nix.lock does not exist"),
        ([], "dvc.yaml", "dvc.yaml is not a lock file of DVC"),
        ([], "src/code.py", "src/code.py is not"),
    ],
)
def test_a_user_error_is_one_line(project, here, names, lock, message):
    with pytest.raises(UserError, match=r"^[^\n]+$") as error:
        verify.run(project, names, None if lock is None else project / lock, as_json=False)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["src/code.py", "src/new.py", "configs/tiny.yaml", "params.yaml", "dvc.yaml"])
def test_a_dirty_tree_is_refused(project, here, name):
    with (project / name).open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match=f"^{name} differs from the last commit"):
        verify.run(project, ["stage2"], None, as_json=False)


def test_results_that_were_just_made_here_are_compared_with_their_own_lock(project, run, here, monkeypatch):
    """As after `make demo` on a processor other than that of the committed lock."""
    monkeypatch.setenv("DRIFT", "stage1 evaluate")
    dvc(project, "repro", "-q", "-f")
    code, lines = run("stage2", "evaluate")
    assert lines[0] == "dvc.lock is not the committed one: compared is with what was made here since"
    assert [line.split()[:2] for line in lines[1:]] == [["stage2", "equal"], ["evaluate", "equal"]]
    assert code == 0


def test_the_last_commit_is_taken_where_it_is_asked_for(project, run):
    (project / "configs" / "tiny.yaml").write_text('{"size": 9}\n')
    code, lines = run("shards", committed=True)
    assert (code, [line.split()[:2] for line in lines]) == (0, [["shards", "equal"]])


def test_an_input_that_is_nowhere_is_a_user_error(project, here):
    for folder in (project / ".dvc" / "cache" / "files", project / "data"):
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    with pytest.raises(UserError, match="data/tiny/stage1 is neither in DVC's cache nor in the checkout"):
        verify.run(project, ["stage2"], None, as_json=False)
    assert not (project / ".state" / "worktrees" / "verify").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, *LONG])
def test_a_stopped_verification_leaves_no_process_and_no_worktree(project, tmp_path, run, number):
    started = tmp_path / "started"
    env = os.environ | {"WAIT": "shards", "WAIT_FILE": str(started), "PYTHONPATH": str(SOURCE), "MARK": str(tmp_path)}
    command = [sys.executable, "-m", "tinygptv.cli", "verify", "shards"]
    process = subprocess.Popen(command, cwd=project, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (started.is_file() and started.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(UserError, match=rf"^verify runs already \(PID {process.pid}\)"):
        verify.run(project, ["shards"], None, as_json=False)
    process.send_signal(number)
    assert process.wait(30) == (-9 if number == signal.SIGKILL else 128 + number)
    while any(marked(str(tmp_path))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    scratch = project / ".state" / "worktrees" / "verify"
    if number == signal.SIGKILL:
        assert scratch.exists()
        assert run("shards")[0] == 0  # the next one clears up
    assert process.stderr is not None
    told = process.stderr.read()
    assert told == ("" if number == signal.SIGKILL else f"verify: stopped by {signal.Signals(number).name}\n")
    assert not scratch.exists()
    process.stderr.close()


def marked(mark: str):
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
