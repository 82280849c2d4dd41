from __future__ import annotations

import shutil

import pytest

from flows import runner
from flows.runner import StepOutcome, read_outcomes, run_step, save_outcomes


@pytest.fixture
def run(plan, monkeypatch):
    """Run one step in the pipeline ``p1`` or another; returns the outcome, the log lines are in ``run.lines``."""

    def call(step: str, pipeline: str = "p1", force: tuple[str, ...] = ()) -> StepOutcome:
        monkeypatch.setenv("TINYGPTV_PIPELINE_ID", pipeline)
        call.lines = []
        changed = plan.model_copy(update={"pipeline": pipeline, "force": force})
        return run_step(changed, next(s for s in plan.steps if s.name == step), call.lines.append)

    return call


def test_completed_up_to_date_cached_and_forced(project, run, capsys):
    first = run("zebra")
    assert (first.state, first.run_id, first.url) == ("Completed", "run-zebra", "http://mlflow/zebra")
    shown = capsys.readouterr().out
    assert shown.startswith("zebra\n")
    assert "  zebra at work\n" in shown
    assert "Running stage" not in shown  # DVC's own words go to the log alone
    assert any("Running stage" in line for line in run.lines)

    again = run("zebra", "p2")
    assert (again.state, again.url) == ("UpToDate", "http://mlflow/zebra")

    shutil.rmtree(project / "data" / "tiny" / "zebra")
    assert run("zebra", "p3").state == "Cached"
    assert (project / "data" / "tiny" / "zebra" / "result").read_text() == "zebra\n"

    assert run("zebra", "p4", force=("zebra",)).state == "Completed"


def test_a_step_that_looks_each_time_and_finds_nothing_new_is_up_to_date(project, run):
    graph = project / "dvc.yaml"
    looked_at = 'outs: [{"data/${profile}/zebra": {persist: true}}]\n    always_changed: true'
    graph.write_text(graph.read_text().replace('outs: ["data/${profile}/zebra"]', looked_at))
    assert run("zebra").state == "Completed"
    (project / "end-zebra").write_text("exit 0")  # before it writes anything
    again = run("zebra", "p2")
    assert any("zebra at work" in line for line in run.lines)
    assert (again.state, again.url) == ("UpToDate", "http://mlflow/zebra")


def test_a_failure_shows_the_step_s_own_line(project, run):
    (project / "stop-zebra").write_text("1")
    outcome = run("zebra")
    assert (outcome.state, outcome.reason) == ("Failed", "zebra: mend me")


def test_no_line_of_a_library_brings_a_secret_into_log_and_reason(project, run, capsys):
    (project / "stop-zebra").write_text("1")
    script = project / "step.sh"
    script.write_text(script.read_text().replace("mend me", "lost https://user:t0ken@host/x?sig=t0ken"))
    outcome = run("zebra")
    assert outcome.state == "Failed"
    shown = "\n".join([*run.lines, outcome.reason, capsys.readouterr().out])
    assert "https://host/x?sig=***" in shown and "t0ken" not in shown


@pytest.mark.parametrize(
    ("how", "again"),
    [
        ("exit 75", True),
        ("kill -9 $$", True),  # memory was short, or the machine was taken away
        ("exit 2", False),
        ("exit 1", False),  # a bug; no memory on the GPU
        ("exit 143", False),
        ("kill -15 $$", False),  # somebody stopped it
        ("kill -11 $$", False),
        ("kill -6 $$", False),
    ],
)
def test_only_what_may_pass_is_tried_again(project, run, how, again):
    (project / "end-zebra").write_text(how)
    assert run("zebra").can_retry is again


@pytest.mark.parametrize(
    ("code", "line", "again"),
    [
        (137, "Running stage 'zebra':", True),
        (255, "ERROR: 'x' is busy, it is being blocked by (PID 1)", True),
        (255, "ERROR: unexpected error - [Errno 5] Input/output error: 'x'", True),
        (255, "ERROR: unexpected error - [Errno 116] Stale file handle: 'x'", True),
        (255, "ERROR: unexpected error - [Errno 13] Permission denied: 'x'", False),
        (255, "ERROR: unexpected error - [Errno 28] No space left on device: 'x'", False),
        (255, "ERROR: failed to reproduce 'zebra': missing data 'source'", False),
        (255, "[Errno 5] said by the step", False),
        (143, "stopped", False),
    ],
)
def test_what_dvc_itself_says_is_judged_alike(plan, monkeypatch, code, line, again):
    monkeypatch.setattr(runner, "_stream", lambda *arguments: (code, [line]))
    monkeypatch.setattr(runner, "BUSY_SECONDS", 0.0)
    assert run_step(plan, plan.steps[0], lambda text: None).can_retry is again


def test_a_missing_input_is_named(run):
    outcome = run("last")
    assert outcome.state == "Failed"
    assert "middle" in outcome.reason


def test_a_step_that_was_forced_and_lacks_its_input_names_it(run):
    assert run("last", force=("last",)).reason == "dependency 'data/tiny/middle' does not exist"


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV")])
def test_a_step_that_was_killed_says_so(project, run, monkeypatch, number, name, shell):
    """Its last line is of its work and no reason; DVC's shell adds words of its own, or none."""
    monkeypatch.setenv("SHELL", shell)
    (project / "kill-zebra").write_text(str(number))
    assert run("zebra").reason == f"killed by {name}; its last line: zebra at work"


@pytest.mark.parametrize(
    "words",
    [
        "Killed",
        "sh: line 1: 41027 Killed                  ./step.sh zebra tiny",
        "/bin/bash: line 1:  1234 Killed                     python -m tinygptv.steps zebra",
        "/bin/sh: 1: Killed",
        "Killed (core dumped)",
    ],
)
def test_the_words_of_a_shell_are_not_those_of_the_step(words):
    lines = ["zebra at work", words, "ERROR: failed to reproduce 'zebra': failed to run: x, exited with 137"]
    assert runner._why(lines, 255) == "killed by SIGKILL; its last line: zebra at work"


def test_a_step_that_speaks_of_a_kill_keeps_its_words():
    lines = ["Killed by a friend", "ERROR: failed to reproduce 'zebra': failed to run: x, exited with 137"]
    assert runner._why(lines, 255) == "killed by SIGKILL; its last line: Killed by a friend"


def test_a_busy_dvc_is_tried_again(plan, monkeypatch):
    answers = [(255, ["'x' is busy, it is being blocked by (PID 1)"])] * 2 + [(0, [])]
    monkeypatch.setattr(runner, "_stream", lambda *arguments: answers.pop(0))
    monkeypatch.setattr(runner, "BUSY_SECONDS", 0.0)
    assert run_step(plan, plan.steps[0], lambda text: None).ok
    assert not answers


def test_other_failures_are_not_tried_again_here(plan, monkeypatch):
    answers = [(255, ["broken"])]
    monkeypatch.setattr(runner, "_stream", lambda *arguments: answers.pop(0))
    assert run_step(plan, plan.steps[0], lambda text: None).reason == "broken"


def test_outcomes_survive_the_flow(plan):
    assert [outcome.state for outcome in read_outcomes(plan)] == ["NotRun"] * 3
    save_outcomes(
        plan,
        {
            "zebra": StepOutcome(step="zebra", state="Completed", seconds=1.5, url="http://x"),
            "middle": StepOutcome(step="middle", state="Running"),
        },
    )
    assert [outcome.state for outcome in read_outcomes(plan)] == ["Completed", "Stopped", "NotRun"]
    assert read_outcomes(plan)[0].seconds == 1.5
    other = plan.model_copy(update={"pipeline": "another"})
    assert [outcome.state for outcome in read_outcomes(other)] == ["NotRun"] * 3
