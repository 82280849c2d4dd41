"""Views of the shards: what a step uses and nothing else, compared before it is used."""

from __future__ import annotations

import json

import pytest

from tests.data.made import context, made_form, picture, rows_of, run, write_set  # noqa: F401 (a fixture)
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.summary import TEST, TRAINING
from tinygptv.data.views import open_view, viewed_tars
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json, sha256_file

STEPS = ("stage1", "stage2", "stage3", "stage4", "backbones", "features", "evaluate")


@pytest.fixture
def build(smoke, tmp_path):
    """``build({set: texts}, mixtures)``: shards of these sets; the folder."""

    def make(sets, mixtures, standins=("cats",), backbones=None):
        settings = {}
        for name, numbers in sets.items():
            files = {f"pictures/{n}.png": picture(n) for n in numbers}
            settings[name] = write_set(tmp_path, name, rows_of(numbers), files)
        made = context(tmp_path, smoke, settings)
        stages = {
            stage: smoke.stage(stage).model_copy(update={"mixture": mixture}) for stage, mixture in mixtures.items()
        }
        backbones = backbones or smoke.backbones.model_copy(update={"data": standins})
        made.config = made.config.model_copy(update={**stages, "backbones": backbones})
        made.out = tmp_path / "data" / "shards"
        made.out.mkdir(parents=True, exist_ok=True)
        for path in made.out.iterdir():
            path.rename(tmp_path / f"old {path.name} {len(list(tmp_path.iterdir()))}")
        run(made)
        return made.out

    return make


MIXTURES = {
    "stage1": {"cats/caption": 1.0},
    "stage2": {"cats": 1.0},
    "stage3": {"cats/align": 1.0},
    "stage4": {"cats/vqa": 3.0, "dogs": 1.0},
}


def views(folder):
    return {step: (folder / "views" / f"{step}.json").read_bytes() for step in STEPS}


def test_a_view_names_the_files_that_its_step_uses(build):
    shards = build({"cats": range(40), "dogs": range(30, 60)}, MIXTURES)
    for step in STEPS:
        view = read_json(shards / "views" / f"{step}.json")
        sets = {"stage4": ["cats", "dogs"], "features": ["cats", "dogs"], "evaluate": ["cats", "dogs"]}
        assert sorted(view) == sets.get(step, ["cats"])
        for name, splits in view.items():
            assert sorted(splits) == (["test", "train", "val"] if step == "evaluate" else ["train"])
            for split, part in splits.items():
                assert part["index"] == sha256_file(shards / name / f"{split}.arrow")
                tars = {path.name: sha256_file(path) for path in (shards / name).glob(f"{split}-*.tar")}
                assert part["blocks"] == tars != {}


def test_a_change_in_a_set_changes_the_views_of_those_who_use_it(build):
    sets = {"cats": range(40), "dogs": range(30, 60)}
    before = views(build(sets, MIXTURES))
    after = views(build({**sets, "dogs": range(31, 61)}, MIXTURES))
    assert {step for step in STEPS if before[step] != after[step]} == {"stage4", "features", "evaluate"}


def test_a_set_that_is_added_for_the_last_stage_reruns_no_earlier_one(build):
    mixtures = {**MIXTURES, "stage4": {"cats/vqa": 3.0}}
    before = views(build({"cats": range(40)}, mixtures))
    after = views(build({"cats": range(40), "dogs": range(30, 60)}, MIXTURES))
    assert {step for step in STEPS if before[step] != after[step]} == {"stage4", "features", "evaluate"}


def test_published_backbones_use_nothing(build, paper):
    shards = build({"cats": range(40)}, {**MIXTURES, "stage4": {"cats": 1.0}}, backbones=paper.backbones)
    assert read_json(shards / "views" / "backbones.json") == {}


def test_a_view_is_opened(build):
    shards = build({"cats": range(40), "dogs": range(30, 60)}, MIXTURES)
    opened = open_view(shards, "stage4")
    assert {name: list(splits) for name, splits in opened.items()} == {"cats": ["train"], "dogs": ["train"]}
    index = opened["dogs"]["train"]
    assert index.record(0)[0].dataset == "dogs"


@pytest.mark.parametrize("damage", ["index", "no index", "view", "form", "no view"])
def test_what_is_not_of_the_view_is_refused(build, damage):
    shards = build({"cats": range(40), "dogs": range(30, 60)}, MIXTURES)
    index, view = shards / "cats" / "train.arrow", shards / "views" / "stage1.json"
    if damage == "index":
        content = bytearray(index.read_bytes())
        content[len(content) // 2] ^= 1
        index.write_bytes(content)
    elif damage == "no index":
        index.unlink()
    elif damage == "view":
        view.write_bytes(view.read_bytes()[:50])
    elif damage == "form":
        view.write_text(json.dumps({"cats": {"train": {"blocks": {}}}}))
    else:
        view.unlink()
    with pytest.raises(DataError, match=r"dvc repro|make it again|run the step") as caught:
        open_view(shards, "stage1")
    assert str(view if damage in ("view", "form", "no view") else index) in str(caught.value)


def test_tars_are_those_of_the_view(build):
    shards = build({"cats": range(40), "dogs": range(30, 60)}, MIXTURES)
    for pattern in (TRAINING, TEST):
        found = viewed_tars(shards, "evaluate", pattern, ["cats", "dogs", "birds"])
        assert found == {name: sorted((shards / name).glob(pattern)) for name in ("cats", "dogs")}
    before = found["dogs"]
    samples = list(read_samples(sorted((shards / "cats").glob(TRAINING))))
    write_shards(shards / "cats", "train", samples[1:], images_per_shard=16)
    for step in ("evaluate", "backbones"):
        with pytest.raises(DataError, match="restore it with `dvc checkout`, or make it again with") as caught:
            viewed_tars(shards, step, TRAINING, ["cats"])
        told = str(caught.value)
        assert "\n" not in told
        assert str(shards / "cats") in told and str(shards / "views" / f"{step}.json") in told
    assert viewed_tars(shards, "evaluate", TEST, ["dogs"]) == {"dogs": before}, "what is not read is not compared"


def test_a_set_that_the_view_does_not_have_is_refused(build):
    shards = build({"cats": range(40)}, {**MIXTURES, "stage4": {"cats": 1.0}})
    write_shards(shards / "dogs", "test", list(read_samples(sorted((shards / "cats").glob(TEST)))), images_per_shard=16)
    with pytest.raises(DataError, match="dogs"):
        viewed_tars(shards, "evaluate", TEST, ["cats", "dogs"])


def test_tars_without_a_view_are_those_of_the_summary(build):
    shards = build({"cats": range(40)}, {**MIXTURES, "stage4": {"cats": 1.0}})
    (shards / "views" / "evaluate.json").unlink()
    assert viewed_tars(shards, "evaluate", TEST, ["cats"]) == {"cats": sorted((shards / "cats").glob(TEST))}
    (shards / "views" / "evaluate.json").write_text("[]")
    with pytest.raises(DataError, match="is no view of shards"):
        viewed_tars(shards, "evaluate", TEST, ["cats"])
