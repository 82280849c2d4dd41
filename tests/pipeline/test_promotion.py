"""Real smoke models: a better one becomes champion, a worse one is refused with the table, rollback restores.

By command line and as a Prefect flow, in a clone of the last commit with the present code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.environment import isolated
from tests.pipeline.test_smoke import Clone

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).resolve().parents[2]
CODE = ("src", "flows", "configs", "dvc.yaml")
GATE = ("margin: {easy_vqa: 1.0}", "margin: {easy_vqa: 0.01}")
STAGE4 = "stage4:\n  <<: *instructions\n"
BETTER, WORSE = (f"{STAGE4}  steps_per_epoch: {steps}\n" for steps in (60, 1))
"""In place of 6."""
NAME = "tinygptv-smoke"
FLOW = """
import sys
from flows.promote import evaluate_champion, promote
state = evaluate_champion(return_state=True) if sys.argv[1] == "champion" else promote(return_state=True)
print(state.type.value, state.name, state.message)
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    """A clone with the present code in which the whole pipeline has run once."""
    root = tmp_path_factory.mktemp("promotion") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    for name in CODE:
        (shutil.rmtree if (root / name).is_dir() else os.unlink)(root / name)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    made = Clone(root)
    made.env["PYTHONPATH"] = str(root / "src")
    made.edit("params.yaml", "profile: tiny", "profile: smoke")
    made.edit("configs/smoke.yaml", *GATE)
    made.commit()
    made.dvc("repro")
    return made


def call(clone: Clone, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    command = [sys.executable, "-m", "tinygptv.cli", *arguments]
    done = subprocess.run(command, cwd=clone.root, env=clone.env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def flow(clone: Clone, which: str) -> str:
    """The last line of a flow: type, name and message of its state."""
    env = isolated(clone.env, clone.root) | {"PYTHONPATH": f"{clone.root}:{clone.root / 'src'}"}
    command = [sys.executable, "-c", FLOW, which]
    done = subprocess.run(command, cwd=clone.root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def aliases(clone: Clone) -> dict[str, str]:
    from mlflow import MlflowClient

    uri = f"sqlite:///{clone.root / 'mlflow.db'}"
    found = MlflowClient(tracking_uri=uri, registry_uri=uri).get_registered_model(NAME).aliases
    return {alias: str(version) for alias, version in found.items()}


@pytest.mark.drill(32, "real models: a better one promoted, a worse one refused with the table, rollback restores")
def test_better_worse_and_back(clone):
    assert aliases(clone) == {"challenger": "1", "champion": "1"}

    clone.edit("configs/smoke.yaml", STAGE4, BETTER)
    clone.commit()
    clone.dvc("repro")  # its step `register` promotes
    assert aliases(clone) == {"challenger": "2", "champion": "2", "previous": "1"}

    clone.edit("configs/smoke.yaml", BETTER, WORSE)
    clone.commit()
    said = clone.dvc("repro")
    assert f"{NAME} version 3 (registered), challenger; not made champion: easy_vqa against champion: " in said
    assert aliases(clone) == {"challenger": "3", "champion": "2", "previous": "1"}

    code, out, error = call(clone, "promote")
    assert code == 1, error
    lines = out.splitlines()
    (judged,) = (line for line in lines if line.startswith("easy_vqa against champion  "))
    assert "NO" in judged.split()
    for check in ("lineage", "package", "test split", "questions", "easy_vqa samples", "agreement"):
        assert any(line.startswith(f"{check}  ") and "yes" in line.split() for line in lines), check
    assert aliases(clone)["champion"] == "2"

    shown = flow(clone, "promote")
    assert shown.startswith(f"COMPLETED Refused {NAME} version 3 was refused: easy_vqa against champion: ")

    code, out, _ = call(clone, "rollback")
    assert (code, out) == (0, f"{NAME} version 1 is champion again, not version 2\n")
    assert aliases(clone) == {"challenger": "3", "champion": "1"}

    code, out, error = call(clone, "promote", "2", "--json")  # whose outputs are in DVC's cache alone by now
    assert code == 0, out + error
    assert json.loads(out)["promoted"] is True
    assert aliases(clone) == {"challenger": "3", "champion": "2", "previous": "1"}

    code, out, error = call(clone, "evaluate-champion", "--json")
    assert code == 0, error
    value = next(row for row in json.loads(out)["decision"]["rows"] if row["check"] == "easy_vqa as registered")
    assert value["value"] == pytest.approx(value["limit"], abs=1e-6)  # measured anew: what quantize measured
    assert flow(clone, "champion").startswith(f"COMPLETED Completed {NAME} version 2 reaches every limit; http")
