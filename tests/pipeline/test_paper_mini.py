"""The profile `paper-mini`, as docs/paper.md has it, with fewer steps: 25 sets, four stages, the benchmarks of table 2.

In a clone of the last commit, on the backbones that `make demo` has made in this checkout.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.pipeline.test_smoke import ROOT, Clone
from tinygptv.config.profiles import read_config
from tinygptv.ground.names import STAGES, STEPS

pytestmark = pytest.mark.pipeline

PROFILE = "paper-mini"
FEWER = {"steps_per_epoch: 60": 6, "steps_per_epoch: 30": 6, "steps_per_epoch: 20": 6, "steps_per_epoch: 365": 73}
"""Steps of an epoch: what the profile says → here; 73 are a tenth of the weights of stage 4."""
REJECTED = {"laion": 40, "cc_sbu": 10, "ocrvqa": 24}
"""Addresses that are dead, and questions about books without a cover."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the flow has run once."""
    if not (ROOT / "data" / "tiny" / "backbones").is_dir():
        pytest.skip("tiny is not made in this checkout; run `make demo`")
    root = tmp_path_factory.mktemp("paper") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    shutil.copytree(ROOT / "data" / "tiny" / "backbones", root / "data" / "tiny" / "backbones")
    made = Clone(root)
    for steps, few in FEWER.items():
        made.edit(f"configs/{PROFILE}.yaml", f"{steps}\n", f"steps_per_epoch: {few}\n")
    command = [sys.executable, "-m", "scripts.paper_files", f"data/raw/{PROFILE}"]
    subprocess.run(command, cwd=root, env=made.env | {"PYTHONPATH": str(root / "src")}, check=True)
    assert made.flow("--profile", PROFILE) == dict.fromkeys(STEPS, "Completed")
    return made


def read(clone, *names):
    return json.loads(clone.root.joinpath(".state", "worktrees", PROFILE, *names).read_text())


def test_every_set_is_trained_on_and_what_is_left_out_is_known(clone):
    config = read_config(clone.root / "configs" / f"{PROFILE}.yaml")
    mixed = {entry.partition("/")[0] for stage in STAGES for entry in config.stage(stage).mixture}
    assert len(mixed) == 25
    for name in mixed:
        summary = read(clone, "data", PROFILE, "shards", name, "summary.json")
        assert summary["splits"]["train"]["records"], name
        assert summary["rejected"] == REJECTED.get(name, 0), name


def test_every_stage_counts_what_it_cuts(clone):
    config = read_config(clone.root / "configs" / f"{PROFILE}.yaml")
    for stage in STAGES:
        cuts = read(clone, "data", PROFILE, stage, "cuts.json")
        assert cuts.keys() == config.stage(stage).mixture.keys()
        assert all(counts["answers"] for counts in cuts.values())
        cut = {name for name, counts in cuts.items() if counts["cut_answers"] or counts["left_out_turns"]}
        assert cut == ({"llava_conversation"} if stage == "stage4" else set()), cuts


def test_every_benchmark_is_answered_in_both_presets_and_in_8_bits(clone):
    config = read_config(clone.root / "configs" / f"{PROFILE}.yaml")
    full, packed = (read(clone, "reports", PROFILE, f"{name}.json") for name in ("evaluate", "quantize"))
    for entries in (full["benchmarks"], full["presets"]["authors_released"], packed["benchmarks"]):
        assert sorted(entries) == sorted(config.evaluate.benchmarks)
        assert all(entry["n"] == config.data[name].questions for name, entry in entries.items())


def test_a_second_flow_runs_nothing(clone):
    assert set(clone.flow("--profile", PROFILE).values()) == {"UpToDate"}
