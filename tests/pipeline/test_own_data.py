"""A user's own pictures, as docs/own_data.md has it: `new`, the flow, and a model that is better than a guess.

In a clone of the last commit with one uncommitted change, on what `make demo` has made in this checkout.
"""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.own_pictures import FORMS
from tests.pipeline.test_smoke import ROOT, Clone
from tinygptv.ground.names import STEPS

pytestmark = pytest.mark.pipeline

PICTURES = 200
MADE = ("backbones", "stage4")
"""What a profile takes that starts from tiny."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with what `make demo` has made here, and a change that is not committed."""
    if not all((ROOT / "data" / "tiny" / step).is_dir() for step in MADE):
        pytest.skip("tiny is not made in this checkout; run `make demo`")
    root = tmp_path_factory.mktemp("own") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    for step in MADE:
        shutil.copytree(ROOT / "data" / "tiny" / step, root / "data" / "tiny" / step)
    with (root / "README.md").open("a") as text:
        text.write("mine\n")
    return Clone(root)


@pytest.mark.parametrize("form", FORMS)
def test_own_pictures_become_a_model_that_is_better_than_a_guess(clone, tmp_path, form):
    data = tmp_path / "pictures of mine"
    data.mkdir()
    name = f"my-{form.replace('_', '-')}"
    before = clone.git("status", "--porcelain").splitlines()
    told = clone.tinygptv("new", name, *FORMS[form](data, PICTURES), "--licence", "MIT")
    assert told.splitlines()[-1].endswith(f"-m flows.pipeline --profile {name}")
    states = clone.flow("--profile", name)
    assert states == dict.fromkeys(STEPS, "Completed")

    reports = clone.root / ".state" / "worktrees" / name / "reports" / name
    report = json.loads((reports / "quantize.json").read_bytes())
    ((benchmark, found),) = report["benchmarks"].items()
    guesses = [found[key] for key in ("majority", "blind", "trivial") if found.get(key) is not None]
    assert guesses
    assert found["ci95"][0] > max(guesses), found
    assert benchmark in clone.tinygptv("results", "--profile", name)
    assert "is the champion already" in clone.tinygptv("promote", "--profile", name)
    after = clone.git("status", "--porcelain").splitlines()
    assert set(after) - set(before) == {f"?? configs/{name}.yaml"}, "nothing else of the checkout has changed"


def test_the_new_model_is_asked(clone, tmp_path):
    name = "my-llava"
    (tmp_path / "data").mkdir()
    FORMS["llava"](tmp_path / "data", 3)
    picture = next((tmp_path / "data" / "my pictures").glob("*.png"))
    colours = {"black", "blue", "brown", "gray", "green", "red", "teal", "yellow"}
    assert clone.tinygptv("ask", str(picture), "what color is the shape?", "--profile", name).strip() in colours
    model = f"models:/tinygptv-{name}@champion"
    assert clone.tinygptv("ask", str(picture), "what color is the shape?", "--model", model).strip() in colours


def test_a_second_flow_runs_nothing(clone):
    states = clone.flow("--profile", "my-llava")
    assert set(states.values()) == {"UpToDate"}, states


def test_dvc_repro_runs_the_profile_of_the_switch(clone):
    clone.edit("params.yaml", "profile: tiny", "profile: my-llava")
    try:
        clone.dvc("repro", "evaluate")  # what the flow has made is taken from DVC's cache
        assert (clone.root / "data" / "my-llava" / "stage4" / "trained.safetensors").is_file()
        assert "my_llava" in clone.tinygptv("results")
    finally:
        clone.git("checkout", "-q", "--", "params.yaml", "dvc.lock")
