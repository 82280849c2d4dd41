"""The grid of ablations: what was trained is not trained again, and what an experiment left is read as it is."""

from __future__ import annotations

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from tinygptv.ground import worktree
from tinygptv.ground.errors import UserError
from tinygptv.ground.names import STAGES

ROOT = Path(__file__).parents[2]
NAMES = ["full", "without LoRA"]


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """The script, whose results and page are below ``tmp_path``; nothing is trained and MLflow hears nothing."""
    spec = importlib.util.spec_from_file_location("ablations_script", ROOT / "benchmarks" / "ablations.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)
    spec.loader.exec_module(script)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{script.begin_of('llama', 'tiny')}\nold\n{script.END}\nafter\n")
    monkeypatch.setattr(script, "PAGE", page)
    monkeypatch.setattr(script, "results_of", lambda family, profile, kind: tmp_path / f"{family}-{profile}.{kind}")
    monkeypatch.setattr(script, "record", lambda path: None)
    monkeypatch.setattr(script, "curves", lambda found, path: path.touch())
    monkeypatch.setattr(worktree, "changed_files", lambda root, *names: [])
    return script


class Trainings:
    """Stands in for the flow: notes what is trained, and is killed before one of them."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.killed_before = -1

    def __call__(self, trial, profile):
        if len(self.seen) == self.killed_before:
            raise SystemExit(137)
        self.seen.append((trial.variant, trial.seed))
        point = {"step": 1, "loss": float(trial.seed), "grad_norm": 0.5}
        histories = {stage: [point] for stage in STAGES}
        own = {"variant": trial.variant, "seed": trial.seed, "key": trial.key, "experiment": trial.experiment}
        times = {"began": 0, "ended": 1000, "stopped": "", "accuracy": 0.5}
        return {**own, **times, "changes": trial.changes, "histories": histories}


@pytest.fixture
def trainings(grid, monkeypatch):
    found = Trainings()
    monkeypatch.setattr(grid, "train", found)
    return found


def asked(seeds=1, names=NAMES, dry_run=False, report=False):
    return Namespace(seeds=seeds, names=names, dry_run=dry_run, report=report)


def test_a_killed_grid_goes_on_and_a_finished_result_is_not_trained_again(grid, trainings, tmp_path, capsys):
    trainings.killed_before = 3
    with pytest.raises(SystemExit):
        grid.run("llama", "tiny", asked(seeds=2))
    assert trainings.seen == [("full", 7), ("full", 8), ("without LoRA", 7)]
    trainings.killed_before = -1
    grid.run("llama", "tiny", asked(seeds=2))
    assert trainings.seen[3:] == [("without LoRA", 8)]
    grid.run("llama", "tiny", asked(seeds=2))
    assert len(trainings.seen) == 4
    said = capsys.readouterr().out
    assert said.count("ablation-tiny-llama-without-LoRA-seed8: trained already") == 1
    assert "| full | 2 | 7.500 [7.000, 8.000] (3.529) |" in grid.PAGE.read_text()
    assert grid.PAGE.read_text().startswith("before\n") and grid.PAGE.read_text().endswith("\nafter\n")
    assert "old" not in grid.PAGE.read_text()


def test_other_code_or_another_profile_is_trained_anew_and_takes_the_place_of_the_former(
    grid, trainings, tmp_path, monkeypatch
):
    grid.run("llama", "tiny", asked(names=["full"]))
    monkeypatch.setattr(grid, "_code", lambda root: "another commit's")
    grid.run("llama", "tiny", asked())
    assert trainings.seen == [("full", 7), ("full", 7), ("without LoRA", 7)]
    found = json.loads((tmp_path / "llama-tiny.json").read_text())["trained"]
    assert [one["variant"] for one in found] == NAMES


def test_tables_and_figure_come_from_the_results_alone(grid, trainings, tmp_path, monkeypatch):
    grid.run("llama", "tiny", asked())
    before = grid.PAGE.read_text()
    (tmp_path / "llama-tiny.png").unlink()
    grid.PAGE.write_text(before.replace("7.000", "lost"))
    monkeypatch.setattr(grid, "plan", None)  # neither git nor a profile is asked
    grid.run("llama", "tiny", asked(report=True))
    assert grid.PAGE.read_text() == before
    assert (tmp_path / "llama-tiny.png").is_file()
    with pytest.raises(UserError, match=r"tiny-tiny\.json has no results"):
        grid.run("tiny", "tiny", asked(report=True))


def test_a_dry_run_says_what_would_be_trained_and_does_nothing(grid, trainings, tmp_path, capsys):
    grid.run("llama", "paper", asked(seeds=2, dry_run=True))
    said = capsys.readouterr().out
    assert trainings.seen == []
    assert not list(tmp_path.glob("*.json"))
    assert "4 of 4 to train with the profile paper" in said
    assert "--set model.text.num_hidden_layers=22" in said


def test_the_key_is_of_all_that_decides_the_result(grid):
    trials = grid.plan("tiny", "tiny", 2, []) + grid.plan("llama", "tiny", 1, [])
    assert len({trial.key for trial in trials}) == len(trials) == 15
    assert [trial.key for trial in grid.plan("tiny", "tiny", 2, [])] == [trial.key for trial in trials[:10]]
    code = grid._code(ROOT)
    assert "\tsrc/tinygptv/training/loop.py\n" in code
    assert "quantize.py" not in code and "data/tiny" not in code


def test_results_of_an_earlier_version_are_one_line(grid, trainings, tmp_path):
    (tmp_path / "llama-tiny.json").write_text('{"variants": {}}')
    with pytest.raises(UserError, match=r"llama-tiny\.json is of an earlier version; move it away"):
        grid.run("llama", "tiny", asked())


def test_a_profile_that_is_not_committed_is_refused(grid, monkeypatch):
    monkeypatch.setattr(worktree, "changed_files", lambda root, *names: list(names))
    with pytest.raises(UserError, match=r"configs/tiny\.yaml is not as the last commit has it.*commit it"):
        grid.plan("tiny", "tiny", 1, [])


REASON = "stage3: step 3: the loss (nan) is not finite"


@pytest.mark.parametrize(
    ("code", "reason", "expected"), [(0, "", 0.75), (1, REASON, None), (1, "stage3: the disk is full", SystemExit)]
)
def test_what_an_experiment_came_to_is_read_and_nothing_of_a_former_one(
    grid, tmp_path, monkeypatch, code, reason, expected
):
    folder = tmp_path / ".state" / "worktrees" / "experiment-tiny"
    (folder / "configs").mkdir(parents=True)
    for name in ("params.yaml", "configs/tiny.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for stage in STAGES:  # of a former experiment
        (folder / "data" / "tiny" / stage).mkdir(parents=True)
        (folder / "data" / "tiny" / stage / "history.json").write_text("[]")
    (folder / "reports" / "tiny").mkdir(parents=True)
    (folder / "reports" / "tiny" / "evaluate.json").write_text('{"benchmarks": {"easy_vqa": {"value": 0.75}}}')

    def flow(command, cwd, grace):
        assert command[1:6] == ["-m", "flows.pipeline", "--profile", "tiny", "--to"]
        assert command[-2:] == ["--set", "seed=7"]
        states = ["Completed", "Cached", "Failed" if code else "Completed", "NotRun" if code else "Completed"]
        steps = [
            {"step": stage, "state": state, "reason": reason if state == "Failed" else ""}
            for stage, state in zip(STAGES, states, strict=True)
        ]
        (folder / ".state" / "tiny").mkdir(parents=True, exist_ok=True)
        (folder / ".state" / "tiny" / "pipeline.json").write_text(json.dumps({"steps": steps}))
        return code

    trial = grid.plan("tiny", "tiny", 1, ["full"])[0]
    ran = grid._code(ROOT)
    monkeypatch.setattr(grid, "ROOT", tmp_path)
    monkeypatch.setattr(grid, "run_guarded", flow)
    monkeypatch.setattr(grid, "_forget", lambda experiment, commit: None)
    monkeypatch.setattr(worktree, "last_commit", lambda root: "c" * 40)
    monkeypatch.setattr(grid, "_code", {folder: ran}.__getitem__)  # of what ran, whatever the checkout has by now
    if expected is SystemExit:
        with pytest.raises(SystemExit):
            grid.train(trial, "tiny")
        return
    found = grid.train(trial, "tiny")
    assert (found["accuracy"], found["stopped"], found["key"]) == (expected, reason, trial.key)
    assert list(found["histories"]) == list(STAGES[:2] if code else STAGES)
