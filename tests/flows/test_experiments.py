"""Experiments with a real DVC: no file of the checkout changes, DVC knows the result, the steps know its name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows import experiments
from flows.pipeline import make_plan
from tests.flows.conftest import ROOT, call_git
from tests.flows.test_pipeline import flow, states
from tinygptv.ground.errors import ConfigError, UserError
from tinygptv.ground.yaml_files import read_yaml

STEP = """\
#!/bin/sh
set -e
mkdir -p "data/tiny/$1" reports/tiny .state/tiny
grep -c . configs/tiny.yaml > "data/tiny/$1/result"
echo "$DVC_EXP_NAME $DVC_EXP_BASELINE_REV" > "data/tiny/$1/name"
printf '{"easy_vqa": %s}' "$(cat "data/tiny/$1/result")" > "reports/tiny/$1.json"
printf '{"pipeline": "%s", "run_id": "", "url": ""}' "$TINYGPTV_PIPELINE_ID" > ".state/tiny/$1.json"
"""
GRAPH = """\
stages:
  train:
    cmd: ./step.sh train
    deps: [step.sh]
    params: [seed, {"configs/${profile}.yaml": [stage4]}]
    outs: ["data/${profile}/train"]
    metrics: ["reports/${profile}/train.json": {cache: false}]
  judge:
    cmd: ./step.sh judge
    deps: [step.sh, "data/${profile}/train"]
    outs: ["data/${profile}/judge"]
    metrics: ["reports/${profile}/judge.json": {cache: false}]
"""


@pytest.fixture(scope="module")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of the real form and two steps; the results of a run are committed, but for one report."""
    made = Path(shutil.copytree(template, tmp_path_factory.mktemp("made") / "project"))
    shutil.copy(ROOT / "configs" / "tiny.yaml", made / "configs")
    (made / "step.sh").write_text(STEP)
    (made / "dvc.yaml").write_text(GRAPH)
    dvc(made, "repro", "-q", DVC_NO_ANALYTICS="1", DVC_SITE_CACHE_DIR=str(made.parent / "site"))
    call_git(made, "add", "-A")
    call_git(made, "rm", "-q", "--cached", "reports/tiny/judge.json")
    call_git(made, "commit", "-q", "-m", "results")
    (made / "reports" / "tiny" / "judge.json").unlink()
    return made


@pytest.fixture
def project(project: Path, made: Path) -> Path:
    """A copy, with DVC's own folders below ``tmp_path``."""
    shutil.rmtree(project)
    return Path(shutil.copytree(made, project))


def dvc(folder: Path, *arguments: str, **env: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    env = os.environ | env
    return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


def show(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def files(project: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of the checkout with its time, but for what is git's, DVC's and the flow's own."""
    own = (".git", ".dvc", ".state", ".prefect")
    return {
        path.relative_to(project).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in project.rglob("*")
        if path.is_file() and path.relative_to(project).parts[0] not in own
    }


def test_an_experiment_changes_no_file_and_is_known_to_dvc(project, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)  # a machine on which git knows no user
    (project / "configs" / "other.yaml").write_text("not committed: true\n")
    before, status = files(project), show(project, "status", "--porcelain")
    options = ("--set", "stage4.epochs=3", "--set", "seed=8", "--name", "longer")
    done = flow(project, *options)
    assert done.returncode == 0, done.stderr
    assert {name: state for name, state in states(done.stdout).items() if name in ("train", "judge")} == {
        "train": "Completed",
        "judge": "Completed",
    }
    assert "experiment longer runs in .state/worktrees/experiment-tiny\n" in done.stdout
    assert "1 changed files of the checkout are not in it\n" in done.stdout
    assert "\nexperiment longer: `dvc exp show`" in done.stdout
    assert files(project) == before
    assert show(project, "status", "--porcelain") == status

    commit = show(project, "rev-parse", "HEAD").strip()
    ref = f"refs/exps/{commit[:2]}/{commit[2:]}/longer"
    assert show(project, "diff", "--name-only", "HEAD", ref, "--", ":!.dvc").split() == [
        "configs/tiny.yaml",
        "dvc.lock",
        "params.yaml",
        "reports/tiny/judge.json",
        "reports/tiny/train.json",
    ]
    diff = show(project, "diff", "-U0", "HEAD", ref, "--", "configs", "params.yaml")
    changed = [line for line in diff.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    nulls = ["-  validation: null", "+  validation:"], ["-    max_latency_seconds: null", "+    max_latency_seconds:"]
    assert changed == [*nulls[0], "+  epochs: 3", *nulls[1], "-seed: 7", "+seed: 8"]  # each pair is one in YAML
    named = project / ".state" / "worktrees" / "experiment-tiny" / "data" / "tiny" / "judge" / "name"
    assert named.read_text() == f"longer {commit}\n"
    (shown,) = (entry for entry in json.loads(dvc(project, "exp", "show", "--json"))[1]["experiments"])
    assert shown["name"] == "longer"
    metrics = shown["revs"][0]["data"]["metrics"]
    assert metrics["reports/tiny/judge.json"]["data"]["easy_vqa"] > 0

    assert "easy_vqa" in dvc(project, "metrics", "diff", "HEAD", "longer")

    again = flow(project, *options)
    assert again.returncode == 2
    assert again.stderr == (
        "pipeline: --name longer: there is such an experiment; choose another, or `dvc exp remove longer`\n"
    )


def test_nothing_of_a_former_experiment_is_in_the_next(project):
    first = make_plan(project, None, None, None, [], settings=["stage4.epochs=3", "seed=8"])
    (first.root / "reports" / "tiny" / "left.json").write_text("{}")
    (first.root / "dvc.lock").write_text("stages: {}\n")
    state = first.root / ".state" / "tiny" / "stage4" / "point"
    state.parent.mkdir(parents=True)
    state.touch()
    second = make_plan(project, None, None, None, [], settings=["stage2.epochs=2"], name="second")
    assert first.experiment.startswith("exp-") and second.experiment == "second"
    assert show(second.root, "status", "--porcelain") == " M configs/tiny.yaml\n"
    profile = read_yaml(second.root / "configs" / "tiny.yaml")
    assert (profile["stage2"]["epochs"], profile["stage4"]["epochs"]) == (2, 1)
    assert state.exists()  # the same experiment would go on there


@pytest.mark.parametrize(
    ("settings", "name", "error", "words"),
    [
        (["stage4.epoch=3"], None, ConfigError, "--set stage4.epoch=3: unknown key `stage4.epoch`"),
        (["stage4.epochs=3"], "a b", UserError, "--name a b: git takes no such name"),
        (["stage4.epochs=3"], "a/b", UserError, "--name a/b: git takes no such name"),
        (["stage4.epochs=3"], "-a", UserError, "--name -a: git takes no such name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(project, settings, name, error, words):
    with pytest.raises(error, match=words):
        make_plan(project, None, None, None, [], settings=settings, name=name)


def test_a_name_alone_is_no_experiment(project):
    done = flow(project, "--name", "alone")
    assert (done.returncode, done.stderr) == (2, "pipeline: --name alone names an experiment; add --set KEY=VALUE\n")


def test_what_dvc_refuses_to_keep_is_one_line(project):
    plan = make_plan(project, None, None, None, [], settings=["seed=8"], name="broken")
    (plan.root / "dvc.lock").write_text("stages: [half\n")
    with pytest.raises(UserError, match=r"experiment broken was not kept: .*dvc\.lock") as refused:
        experiments.keep(plan, os.environ)
    assert "\n" not in str(refused.value)
