"""A stage that looks at held-out records, through its steps: views, features, in the loop, stopped, none held out."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.steps.test_train import stop_after
from tests.training.test_validation import without_looks
from tinygptv.data.views import write_views
from tinygptv.ground.files import read_json

LOOKS = "validation: {every: 3, batches: 2, questions: null, keep: loss, patience: null}"
FILES = ("trained.safetensors", "trace.jsonl", "history.json", "cuts.json")


def with_looks(checkout, run, looks):
    """The checkout with other looks in its first stages, and the views and features that these take."""
    checkout.edit("validation: null", looks)
    write_views(checkout.data / "shards", checkout.config)
    for step in ("features", "stage1"):
        shutil.rmtree(checkout.data / step)
    assert run(checkout, "features") == 0
    return checkout


@pytest.fixture
def looking(checkout, run):
    """A checkout whose stages 1 to 3 look at held-out records, with the views and features that this takes."""
    return with_looks(checkout, run, LOOKS)


def trace(folder):
    return [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]


def test_what_a_stage_trains_is_what_it_trains_without_looking(looking, with_stage1, run, capfd):
    assert run(looking, "stage1") == 0
    made = trace(looking.data / "stage1")
    assert [point["step"] for point in made if "validation_loss" in point] == [3, 6, 9, 12]
    assert without_looks(made) == trace(with_stage1.data / "stage1")
    told = capfd.readouterr().out
    assert "stage1: 8 held-out samples are looked at every 3 steps" in told
    (best,) = (point for point in read_json(looking.data / "stage1" / "history.json") if "best" in point)
    assert best["validation_loss"] == min(point["validation_loss"] for point in made if "validation_loss" in point)
    assert made[0]["start_loss"] > best["validation_loss"]
    assert f"stage1: the weights of step {best['step']}, with the lowest loss on the held-out part: " in told
    same = (looking.data / "stage1" / FILES[0]).read_bytes() == (with_stage1.data / "stage1" / FILES[0]).read_bytes()
    assert same == (best["step"] == 12)


def test_features_have_the_rows_of_the_held_out_part_beside_those_that_they_had(looking, with_stage1):
    of_set = looking.data / "features" / "32" / "easy_vqa"
    before = with_stage1.data / "features" / "32" / "easy_vqa"
    assert sorted(path.name for path in of_set.iterdir() if path.name.startswith("val-"))
    for path in before.iterdir():
        assert (of_set / path.name).read_bytes() == path.read_bytes()
    assert not [path for path in before.iterdir() if path.name.startswith("val-")]
    views = {name: read_json(looking.data / "features" / "views" / f"{name}.json") for name in ("stage1", "stage4")}
    assert views["stage1"]["held_out"]["easy_vqa"].keys() == {"0"}
    manifest = read_json(looking.data / "features" / "manifest.json")
    assert manifest["held_out"] == {"easy_vqa": 7} and manifest["images"] == manifest["sets"]["easy_vqa"] + 7


@pytest.mark.parametrize("step", [5, 6])
def test_a_stopped_stage_leaves_the_same_bytes(looking, run, capfd, step):
    assert run(looking, "stage1") == 0
    once = {name: (looking.data / "stage1" / name).read_bytes() for name in FILES}
    shutil.rmtree(looking.data / "stage1")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, step)
        assert run(looking, "stage1") == 143
    assert run(looking, "stage1") == 0
    assert f"going on after step {step}" in capfd.readouterr().out
    assert {name: (looking.data / "stage1" / name).read_bytes() for name in FILES} == once


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stage_that_encodes_in_its_loop_leaves_the_same_bytes(looking, run, workers):
    assert run(looking, "stage1") == 0
    once = {name: (looking.data / "stage1" / name).read_bytes() for name in FILES}
    for step in ("features", "stage1"):
        shutil.rmtree(looking.data / step)
    looking.edit("features: cached", "features: in_loop")
    looking.edit("loader:\n  workers: 0", f"loader:\n  workers: {workers}")
    write_views(looking.data / "shards", looking.config)
    assert run(looking, "features") == 0
    assert not list((looking.data / "features").rglob("*.safetensors"))
    assert run(looking, "stage1") == 0
    assert {name: (looking.data / "stage1" / name).read_bytes() for name in FILES} == once


def test_a_stage_without_patience_ends_early_and_the_next_one_goes_on(looking, run, monkeypatch, capfd):
    from tinygptv.training import loop

    looking.edit("patience: null", "patience: 2")
    monkeypatch.setattr(loop, "best_look", lambda trace, _: next((p for p in trace if "validation_loss" in p), None))
    assert run(looking, "stage1") == 0
    assert len(trace(looking.data / "stage1")) == 9  # the first look is the best one, two come after it
    assert "stage1: ended after step 9 of 12: none of its last 2 looks was better" in capfd.readouterr().out
    assert not (looking.state / "stage1").exists()
    assert run(looking, "stage2") == 0


def test_nothing_held_out_is_one_line(looking, refused):
    view = looking.data / "shards" / "views" / "stage1.json"
    content = read_json(view)
    del content["easy_vqa"]["val"]
    view.write_text(json.dumps(content))
    refused(looking, "stage1", "stage1.validation: its data sets have no held-out records", "split: {val: 0.1}")


def test_damaged_features_of_the_held_out_part_are_found_before_the_first_step(looking, refused, monkeypatch):
    from tinygptv.training import loop

    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("the training has begun"))
    path = min((looking.data / "features" / "32" / "easy_vqa").glob("val-*.safetensors"))
    path.unlink()
    refused(looking, "stage1", f"{path} is missing", "dvc repro -f -s features")
