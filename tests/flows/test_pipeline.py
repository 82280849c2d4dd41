from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pytest

COMMAND = [sys.executable, "-m", "flows.pipeline", "--no-parent-run"]


def flow(project, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], cwd=project, capture_output=True, text=True, check=False, timeout=300)


def states(text: str) -> dict[str, str]:
    """Step → state, from the table at the end."""
    table = text.split("\nstep ", 1)[1].splitlines()[1:]
    return {line.split()[0]: line.split()[1] for line in table}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--from", "nix"], "pipeline: --from nix: no such step; the steps are zebra, middle, last"),
        (["--profile", "nix"], "pipeline: no profile `nix` in configs/; there are other, tiny"),
        (["--from", "last", "--to", "zebra"], "pipeline: --from last --to zebra: zebra does not depend on last"),
    ],
)
def test_a_user_error_is_one_line(project, options, line):
    done = flow(project, *options)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_the_flow_runs_the_steps_in_order_and_reports_a_failure(project):
    (project / "stop-last").write_text("1")
    done = flow(project)
    assert done.returncode == 1, done.stderr
    assert states(done.stdout) == {
        "zebra": "Completed",
        "middle": "Completed",
        "last": "Failed",
        "total": done.stdout.split()[-1],
    }
    assert done.stderr.strip() == "pipeline: last failed: last: mend me"
    assert done.stdout.index("zebra at work") < done.stdout.index("middle at work")
    with closing(sqlite3.connect(project / ".prefect" / "prefect.db")) as database:
        flow_tags = [json.loads(tags) for (tags,) in database.execute("select tags from flow_run")]
        task_tags = [json.loads(tags) for (tags,) in database.execute("select tags from task_run")]
    assert len(flow_tags) == 1 and flow_tags[0][0].startswith("pipeline.id=")
    assert task_tags == [[]] * 3  # Prefect would stop for seconds before each task with a tag


@pytest.mark.pipeline
def test_a_second_flow_finds_everything_up_to_date_and_another_profile_leaves_the_checkout_alone(project):
    assert flow(project).returncode == 0
    again = flow(project)
    assert set(states(again.stdout).values()) - {again.stdout.split()[-1]} == {"UpToDate"}
    other = flow(project, "--profile", "other")
    assert other.returncode == 0
    assert "Completed" in states(other.stdout).values()
    assert not (project / "data" / "other").exists()
    assert "profile: tiny" in (project / "params.yaml").read_text()
    assert "results: `tinygptv results --profile other`; pictures and curves: .state/worktrees/other/" in other.stdout


def test_a_profile_that_is_not_committed_is_run_as_it_is(project):
    from flows.pipeline import make_plan

    (project / "configs" / "mine.yaml").write_text((project / "configs" / "other.yaml").read_text() + "# mine\n")
    told: list[str] = []
    plan = make_plan(project, "mine", None, None, [], say=told.append)
    assert told[0] == "with configs/mine.yaml as it is in the checkout, which is not committed"
    assert plan.root == project / ".state" / "worktrees" / "mine"
    assert (plan.root / "configs" / "mine.yaml").read_text().endswith("# mine\n")


@pytest.mark.pipeline
def test_a_profile_runs_before_it_is_committed(project):
    (project / "configs" / "mine.yaml").write_text((project / "configs" / "other.yaml").read_text())
    mine = flow(project, "--profile", "mine", "--to", "zebra")
    assert mine.returncode == 0, mine.stderr
    assert mine.stdout.startswith("with configs/mine.yaml as it is in the checkout, which is not committed\n")
    assert states(mine.stdout)["zebra"] == "Completed"


def test_data_that_git_has_otherwise_are_told_for_the_worktree_reads_those_of_the_commit(project):
    from flows.pipeline import make_plan

    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    mine = {"data": {"mine": {"files": ["mine/cats.json", "/elsewhere.json"], "images": "my pictures"}}, "width": 3}
    (project / "configs" / "mine.yaml").write_text(json.dumps(mine))
    for name in ("mine/cats.json", "mine/dogs.json", "my pictures/1.txt"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("old")
    subprocess.run([*git, "add", "mine", "my pictures"], cwd=project, check=True)
    subprocess.run([*git, "commit", "-qm", "data"], cwd=project, check=True)
    for name in ("mine/cats.json", "mine/dogs.json", "my pictures/1.txt"):
        (project / name).write_text("new")
    told: list[str] = []
    make_plan(project, "mine", None, None, [], say=told.append)
    named = [line.partition(" is a file of the data and is read as it was committed;")[0] for line in told[-2:]]
    assert named == ["mine/cats.json", "my pictures/1.txt"], told


@pytest.mark.pipeline
@pytest.mark.parametrize(("how", "times"), [("exit 75", 2), ("kill -9 $$", 2), ("exit 2", 1), ("exit 1", 1)])
def test_a_step_is_tried_again_as_its_meta_says(project, how, times):
    (project / "end-zebra").write_text(how)
    assert flow(project, "--to", "zebra").stdout.count("zebra at work") == times


@pytest.mark.pipeline
def test_a_fault_that_has_passed_leaves_no_trace(project):
    (project / "end-zebra").write_text("exit 75")
    (project / "once-zebra").touch()
    done = flow(project)
    assert done.returncode == 0, done.stderr
    assert set(states(done.stdout).values()) - {done.stdout.split()[-1]} == {"Completed"}


@pytest.mark.pipeline
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_flow_leaves_no_process(project, number):
    (project / "wait-zebra").touch()
    marker = str(project)
    launcher = subprocess.Popen(COMMAND, cwd=project, env={**os.environ, "TEST_MARK": marker}, stdout=subprocess.PIPE)
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if b"at work" in line:
            break
    assert len(_marked(marker)) >= 5  # launcher, flow, server, guard, DVC, step
    launcher.send_signal(number)
    assert launcher.wait(60) == (-9 if number == signal.SIGKILL else 128 + number)
    deadline = time.monotonic() + 60
    while left := _marked(marker):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    launcher.stdout.close()


def _marked(marker: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEST_MARK") == marker and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.pipeline
def test_a_flow_whose_lines_nobody_reads_any_more_goes_on(project):
    """As when Prefect's worker is killed alone: the pipe that carries the log breaks in the middle of a step."""
    (project / "hold-zebra").touch()
    launcher = subprocess.Popen(COMMAND, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if b"at work" in line:
            break
    launcher.stdout.close()
    (project / "hold-zebra").unlink()
    assert launcher.wait(300) == 0
    (record,) = (json.loads(path.read_bytes()) for path in project.glob(".state/tiny/pipeline.json"))
    assert [(step["step"], step["state"]) for step in record["steps"]] == [
        (name, "Completed") for name in ("zebra", "middle", "last")
    ]
