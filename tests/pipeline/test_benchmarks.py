"""Every benchmark of the paper on small files in their official layouts, asked of the smoke model by the real steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.test_smoke import FOREIGN
from tinygptv.ground.yaml_files import read_yaml

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "mini"
STEPS = (
    "download",
    "shards",
    "backbones",
    "features",
    *(f"stage{number}" for number in range(1, 5)),
    "evaluate",
    "quantize",
)


class MiniCheckout:
    """A checkout whose profile is the smoke model's with the data sets of ``eval-mini``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "dvc.yaml", folder)
        (folder / "params.yaml").write_text(f"profile: {PROFILE}\nseed: 7\n")
        self.env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        self.env |= {"DVC_ROOT": str(folder), "PYTHONPATH": str(folder / "src")}
        smoke, mini = (
            json.loads(json.dumps(read_yaml(ROOT / "configs" / f"{name}.yaml"))) for name in ("smoke", "eval-mini")
        )
        self.sets, self.asked = mini["data"], mini["evaluate"]["benchmarks"]
        smoke["data"] |= self.sets
        smoke["evaluate"] |= {"benchmarks": self.asked, "presets": mini["evaluate"]["presets"]}
        smoke["register"]["gate"] |= {"min_value": {"gqa": 0.0}, "margin": {"gqa": 1.0}}
        (folder / "configs").mkdir()
        (folder / "configs" / f"{PROFILE}.yaml").write_text(json.dumps(smoke))
        self.python(str(ROOT / "scripts" / "benchmark_files.py"), "data/raw/mini")

    def python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def report(self, name: str) -> dict:
        return json.loads((self.folder / "reports" / PROFILE / f"{name}.json").read_text())

    def score(self, name: str) -> dict:
        """What ``tinygptv score`` says of what ``evaluate`` would hand in."""
        settings = self.sets[name]
        files = [word for file in settings["files"] for word in ("--annotations", file)]
        part = ["--split", settings["part"]] if "part" in settings else []
        said = f"data/{PROFILE}/evaluate/submissions/{name}.json"
        command = ["score", settings["benchmark"], *files, *part, "--predictions", said, "--json"]
        return json.loads(self.python("-m", "tinygptv", *command))


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    checkout = MiniCheckout(tmp_path_factory.mktemp("mini") / "checkout")
    for step in STEPS:
        checkout.python("-m", "tinygptv.steps", step, "--profile", PROFILE)
    return checkout


def test_every_benchmark_has_its_numbers_in_both_presets_and_in_8_bits(mini):
    full, packed = mini.report("evaluate"), mini.report("quantize")
    for entries in (full["benchmarks"], full["presets"]["authors_released"], packed["benchmarks"]):
        assert sorted(entries) == sorted(mini.asked)
        for name, entry in entries.items():
            assert entry["n"] == entry["expected"] == mini.sets[name]["questions"], name
            assert entry["value"] == entry["official"][entry["metric"]], name
            assert entry["variant"] and len(entry["ci95"] or (0, 0)) == 2, name
    assert all((mini.folder / "reports" / PROFILE / f"{name}.png").is_file() for name in ("answers", "worst", "stages"))


def rounded(numbers):
    """As reports have them."""
    if isinstance(numbers, dict):
        return {name: rounded(number) for name, number in numbers.items()}
    return round(numbers, 6) if isinstance(numbers, float) else numbers


def test_score_counts_what_evaluate_hands_in_as_evaluate_does(mini):
    entries = mini.report("evaluate")["benchmarks"]
    for name in mini.asked:
        found = mini.score(name)
        assert rounded(found["official"]) == entries[name]["official"], name
        assert rounded(found["authors"]) == entries[name]["authors"], name
        assert found["n"] == entries[name]["n"], name
        assert found["complete"] == (found["expected_n"] is None), name  # of captions no number is published


def test_a_cut_file_is_an_error_and_no_score(mini):
    path = mini.folder / "data" / "raw" / "mini" / "pope" / "coco_pope_adversarial.json"
    whole = path.read_text()
    try:
        path.write_text("".join(whole.splitlines(keepends=True)[:-2]))
        for step in ("download", "shards"):
            mini.python("-m", "tinygptv.steps", step, "--profile", PROFILE)
        command = [sys.executable, "-m", "tinygptv.steps", "evaluate", "--profile", PROFILE]
        done = subprocess.run(command, cwd=mini.folder, env=mini.env, capture_output=True, text=True, check=False)
    finally:
        path.write_text(whole)
    assert done.returncode == 2
    assert "46" in done.stderr and "48" in done.stderr and "pope" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
