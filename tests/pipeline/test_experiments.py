"""An experiment on the real smoke profile: on record by its name, promoted when told to, taken over from the cache."""

from __future__ import annotations

import subprocess

import pytest

from tests.pipeline.test_promotion import NAME, STAGE4, aliases, call, clone  # noqa: F401 (a fixture)
from tinygptv.ground.names import STEPS

pytestmark = pytest.mark.pipeline
BETTER = ("--set", "stage4.steps_per_epoch=60", "--name", "longer")


def git(clone, *arguments: str) -> str:  # noqa: F811
    return subprocess.run(["git", *arguments], cwd=clone.root, check=True, capture_output=True, text=True).stdout


def test_an_experiment_promotes_nothing_until_told_and_can_be_taken_over(clone):  # noqa: F811
    from mlflow import MlflowClient

    uri = f"sqlite:///{clone.root / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    before, commit = git(clone, "status", "--porcelain"), git(clone, "rev-parse", "HEAD").strip()
    texts = {path: path.read_bytes() for path in clone.root.glob("*.*") if path.is_file() and path.suffix != ".db"}
    profile = (clone.root / "configs" / "smoke.yaml").read_bytes()

    anew = STEPS[STEPS.index("stage4") :]
    assert clone.flow(*BETTER) == {step: "Completed" if step in anew else "Cached" for step in STEPS}
    assert git(clone, "status", "--porcelain") == before
    assert {path: path.read_bytes() for path in texts} == texts
    assert (clone.root / "configs" / "smoke.yaml").read_bytes() == profile
    assert aliases(clone) == {"challenger": "1", "champion": "1"}

    named = {"dvc.exp.name": "longer", "dvc.exp.baseline": commit}
    experiment = client.get_experiment_by_name("tinygptv/smoke").experiment_id
    runs = client.search_runs([experiment], "tags.`dvc.exp.name` = 'longer'")
    assert {run.data.tags["step"] for run in runs if "step" in run.data.tags} == set(anew)
    assert len(runs) == len(anew) + 1  # and the pipeline's
    assert all(run.data.tags.items() >= named.items() for run in runs)
    version = client.get_model_version(NAME, "2")
    assert version.tags.items() >= named.items()
    assert version.tags["gate.reasons"] == "not decided yet"

    code, out, error = call(clone, "promote", "2")
    assert code == 0, out + error
    assert aliases(clone) == {"challenger": "1", "champion": "2", "previous": "1"}

    clone.edit("configs/smoke.yaml", STAGE4, f"{STAGE4}  steps_per_epoch: 60\n")
    clone.commit()
    said = clone.dvc("repro")
    assert "Running stage 'register'" in said and said.count("Running stage") == 1  # the rest is in the cache
    assert aliases(clone) == {"challenger": "2", "champion": "2", "previous": "1"}


def test_dvc_s_own_experiments_move_no_alias_either(clone):  # noqa: F811
    before = aliases(clone)
    clone.dvc("exp", "run", "--name", "own", "-S", "configs/smoke.yaml:stage4.steps_per_epoch=30")
    assert aliases(clone) == before
    git(clone, "checkout", "-q", "--", ".")
