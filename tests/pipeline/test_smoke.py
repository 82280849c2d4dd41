"""The smoke profile through the real DVC and MLflow, in a clone of the last commit: what runs, and what need not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinygptv.ground.files import sha256_tree
from tinygptv.ground.names import STEPS
from tinygptv.ground.yaml_files import read_yaml

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = (
    "DVC_ROOT",
    "MLFLOW_TRACKING_URI",
    "TINYGPTV_PIPELINE_ID",
    "PREFECT_FLOW_RUN_ID",
    "VIRTUAL_ENV",
    "PYTHONPATH",
)


class Clone:
    """A checkout with ``profile: smoke``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        self.env |= {"TINYGPTV_PYTHON": sys.executable, "DVC_NO_ANALYTICS": "1"}

    def dvc(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def doctor(self) -> str:
        """What ``tinygptv doctor`` prints, whatever it finds."""
        env = self.env | {"PYTHONPATH": str(self.root / "src")}
        command = [sys.executable, "-m", "tinygptv.cli", "doctor"]
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def flow(self, *options: str) -> dict[str, str]:
        """Step → state, as the flow's table has it."""
        env = self.env | {"PYTHONPATH": str(self.root / "src")}
        command = [sys.executable, "-m", "flows.pipeline", *options]
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = [line.split() for line in done.stdout.splitlines()]
        return {row[0]: row[1] for row in rows if len(row) == 3 and row[0] in STEPS}

    def would_run(self) -> list[str]:
        """Steps that ``dvc repro`` would run, as far as it can know before their inputs are made."""
        return [step for step in STEPS if step in json.loads(self.dvc("status", "--json"))]

    def digest(self, step: str) -> str:
        outs = read_yaml(self.root / "dvc.lock")["stages"][step]["outs"]
        return next(out["md5"] for out in outs if out["path"] == f"data/smoke/{step}")

    def tinygptv(self, *arguments: str) -> str:
        """What a command prints."""
        env = self.env | {"PYTHONPATH": str(self.root / "src")}
        command = [sys.executable, "-m", "tinygptv", *arguments]
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True).stdout

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        content = path.read_text()
        assert content.count(old) == 1
        path.write_text(content.replace(old, new))

    def commit(self) -> None:
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run([*git, "add", "-A"], cwd=self.root, check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "smoke"], cwd=self.root, check=True)

    def verify(self, *steps: str) -> tuple[int, list[str]]:
        """The exit code and the lines of ``tinygptv verify``."""
        command = [sys.executable, "-m", "tinygptv.cli", "verify", *steps]
        env = self.env | {"PYTHONPATH": str(self.root / "src")}
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    def restore(self) -> None:
        subprocess.run(["git", "checkout", "-q", "--", "src", "configs"], cwd=self.root, check=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    """A clone in which the whole pipeline has run once."""
    root = tmp_path_factory.mktemp("pipeline") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    clone = Clone(root)
    clone.edit("params.yaml", "profile: tiny", "profile: smoke")
    shutil.rmtree(root / "reports" / "smoke", ignore_errors=True)
    ran = re.findall(r"Running stage '(\w+)'", clone.dvc("repro"))
    assert sorted(ran) == sorted(STEPS)
    return clone


def test_every_step_has_its_results(clone):
    for step in STEPS[:-1]:
        assert any((clone.root / "data" / "smoke" / step).iterdir()), step
    reports = clone.root / "reports" / "smoke"
    evaluated = json.loads((reports / "evaluate.json").read_bytes())
    quantized = json.loads((reports / "quantize.json").read_bytes())
    for content in (evaluated, quantized):
        benchmark = content["benchmarks"]["easy_vqa"]
        assert benchmark["n"] == 9673
        assert (round(benchmark["majority"], 4), round(benchmark["blind"], 4)) == (0.3733, 0.67)
    assert quantized["bytes"]["quantized"] < quantized["bytes"]["unquantized"]
    assert {path.name for path in reports.glob("*.png")} == {"loss.png", "stages.png", "answers.png"}
    assert not any((clone.root / ".state" / "smoke" / "staging").iterdir())


def test_what_dvc_shows_fits_a_terminal(clone):
    shown = clone.dvc("metrics", "show").rstrip().splitlines()
    assert sorted(row.split()[0] for row in shown[1:]) == [f"reports/smoke/{name}.json" for name in ("8bit", "full")]
    assert max(map(len, shown)) <= 80
    (curves,) = json.loads(clone.dvc("plots", "show", "--json"))["data"]["loss"]
    drawn = {point["filename"].split("/")[-2] for point in curves["content"]["data"]["values"] if point["loss"] > 0}
    assert drawn == {"stage1", "stage2", "stage3", "stage4"}


@pytest.mark.drill(12, "dvc repro again: no step runs")
def test_a_second_run_runs_nothing(clone):
    assert "Running stage" not in clone.dvc("repro")
    assert clone.would_run() == []


@pytest.mark.drill(12, "dvc repro -f of a step: the same digest in dvc.lock")
@pytest.mark.parametrize("step", ["shards", "backbones", "features", "stage3", "evaluate", "quantize"])
def test_a_repeated_step_gives_the_same_bytes(clone, step):
    before = clone.digest(step)
    assert f"Running stage '{step}'" in clone.dvc("repro", "-f", "-s", step)
    assert clone.digest(step) == before


@pytest.mark.drills
@pytest.mark.drill(12, "dvc repro -f of all steps: the same digests in dvc.lock")
def test_a_forced_run_of_everything_gives_the_same_digests(clone):
    before = read_yaml(clone.root / "dvc.lock")["stages"]
    ran = re.findall(r"Running stage '(\w+)'", clone.dvc("repro", "-f"))
    assert sorted(ran) == sorted(STEPS)
    after = read_yaml(clone.root / "dvc.lock")["stages"]
    assert {step: after[step].get("outs") for step in STEPS} == {step: before[step].get("outs") for step in STEPS}


def test_a_key_of_stage4_reruns_stage4_alone(clone):
    """What follows it is seen by DVC only once stage 4 has made other weights."""
    content = (clone.root / "configs" / "smoke.yaml").read_text()
    place = content.index("stage4:")
    changed = content[:place] + content[place:].replace("image_size: 64", "image_size: 64\n  weight_decay: 0.04", 1)
    (clone.root / "configs" / "smoke.yaml").write_text(changed)
    try:
        assert clone.would_run() == ["stage4"]
        planned = re.findall(r"Running stage '(\w+)'", clone.dvc("repro", "--dry"))
        assert planned[0] == "stage4"
        assert set(planned) <= {"stage4", "evaluate", "quantize", "register"}
    finally:
        clone.restore()


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("src/tinygptv/evaluation/report.py", ["evaluate"]),
        ("src/tinygptv/tracking/runs.py", []),
        ("src/tinygptv/cli.py", []),
        ("src/tinygptv/training/loop.py", ["stage1", "stage2", "stage3", "stage4"]),
    ],
)
def test_an_edited_file_reruns_what_uses_it(clone, name, steps):
    path = clone.root / name
    path.write_text(path.read_text() + "\n# a remark\n")
    try:
        assert clone.would_run() == steps
    finally:
        clone.restore()


def test_mlflow_has_the_runs_and_the_model(clone):
    from mlflow import MlflowClient

    uri = f"sqlite:///{clone.root / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("tinygptv/smoke")
    finished = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
    by_name = {run.info.run_name: run for run in finished}
    assert set(by_name) >= set(STEPS)
    for step in STEPS:
        run = by_name[step]
        assert run.data.metrics["seconds"] > 0
        assert run.data.params["seed"] == "7"
        assert client.list_artifacts(run.info.run_id), step
    model = client.get_registered_model("tinygptv-smoke")
    assert set(model.aliases) == {"challenger", "champion"}


def test_a_second_clone_pulls_all_results_and_registers_the_model(clone, tmp_path):
    """What DVC cannot know: the registry of the new clone is empty. The flow sees it; ``doctor`` says what to do."""
    (clone.root / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'remote'}\n    verify = true\n"
    )
    clone.dvc("push")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*git, "add", "-A"], cwd=clone.root, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "smoke"], cwd=clone.root, check=True)
    subprocess.run(["git", "clone", "-q", str(clone.root), str(tmp_path / "second")], check=True)
    second = Clone(tmp_path / "second")
    shutil.copy(clone.root / ".dvc" / "config.local", second.root / ".dvc")

    second.dvc("pull")
    assert "Running stage" not in second.dvc("repro")
    assert second.would_run() == []
    for step in STEPS[:-1]:
        assert sha256_tree(second.root / "data" / "smoke" / step) == sha256_tree(clone.root / "data" / "smoke" / step)

    advice = "dvc repro -f -s register"
    assert advice in second.doctor()
    assert second.flow("--from", "quantize") == {"quantize": "UpToDate", "register": "Completed"}
    assert advice not in second.doctor()
    assert second.flow("--from", "quantize") == {"quantize": "UpToDate", "register": "UpToDate"}
    assert second.would_run() == []


def test_verify_says_equal_and_otherwise_what_differs(clone):
    clone.commit()
    code, lines = clone.verify("shards", "stage2")
    assert (code, [line.split()[:2] for line in lines]) == (0, [["shards", "equal"], ["stage2", "equal"]])

    weights = clone.root / "data" / "smoke" / "stage1" / "trained.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    clone.edit("configs/smoke.yaml", "stage2:\n  <<: *captions\n", "stage2:\n  <<: *captions\n  weight_decay: 0.04\n")
    clone.commit()
    try:
        code, lines = clone.verify("stage2")
    finally:
        weights.write_bytes(whole)
    assert code == 1
    assert lines[0].startswith("stage2: configs/smoke.yaml: stage2.weight_decay: ")
    assert lines[1].split()[:2] == ["stage2", "differs"]
    assert lines[2].startswith("  input data/smoke/stage1/trained.safetensors: tensor ")
    assert "1 of " in lines[2] and "(lock)" in lines[2] and "(checkout)" in lines[2]
    found = {line.split(":")[0].rpartition("/")[2]: line for line in lines[3:]}
    assert "trained.safetensors: tensor " in found["trained.safetensors"]
    assert "trace.jsonl: training step 2: " in found["trace.jsonl"]  # the first step ends before the decay counts
    assert "manifest.json: config.stage2.weight_decay: " in found["manifest.json"]
