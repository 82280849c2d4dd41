"""A stage that encodes its images itself: the same bytes as with cached features, whatever makes the batches."""

from __future__ import annotations

import json
import shutil

import pytest

from tinygptv.data.summary import TRAINING, sets, tars

TRAINED = ("trained.safetensors", "trace.jsonl", "history.json", "cuts.json")
IN_LOOP = (
    "stage1: &captions\n  image_size: 32\n  features: cached",
    "stage1: &captions\n  image_size: 32\n  features: in_loop",
)


@pytest.fixture
def in_loop(checkout):
    """A checkout whose stages encode in the loop; what stage 1 and ``features`` had made is gone."""
    checkout.edit(*IN_LOOP)
    for step in ("features", "stage1"):
        shutil.rmtree(checkout.data / step)
    return checkout


@pytest.mark.parametrize("workers", [0, 2])
def test_the_bytes_are_those_of_cached_features(in_loop, with_stage1, run, workers):
    in_loop.edit("loader:\n  workers: 0", f"loader:\n  workers: {workers}")
    assert run(in_loop, "features") == 0
    assert not list((in_loop.data / "features").rglob("*.safetensors")), "nothing is cached that nobody reads"
    assert run(in_loop, "stage1") == 0
    for name in TRAINED:
        once = (with_stage1.data / "stage1" / name).read_bytes()
        assert (in_loop.data / "stage1" / name).read_bytes() == once, name
    manifest = json.loads((in_loop.data / "stage1" / "manifest.json").read_bytes())
    assert manifest["config"]["stage1"]["features"] == "in_loop"
    assert manifest["config"]["features"] == {"batch_size": in_loop.config.features.batch_size}


def test_a_smaller_forward_pass_trains_on_the_same_images(in_loop, with_stage1, run):
    """Several passes a step; the batch shape decides the last bits, as it does of cached features."""
    in_loop.edit("features:\n  batch_size: 100", "features:\n  batch_size: 3")
    for step in ("features", "stage1"):
        assert run(in_loop, step) == 0
    trace = [json.loads(line) for line in (in_loop.data / "stage1" / "trace.jsonl").read_text().splitlines()]
    once = [json.loads(line) for line in (with_stage1.data / "stage1" / "trace.jsonl").read_text().splitlines()]
    assert [point["batch"] for point in trace] == [point["batch"] for point in once]
    assert [point["loss"] for point in trace] == pytest.approx([point["loss"] for point in once], rel=1e-4)


def test_a_stopped_stage_goes_on_with_the_same_bytes(in_loop, with_stage1, run, monkeypatch, capfd):
    from tests.steps.test_train import stop_after

    assert run(in_loop, "features") == 0
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 5)
        assert run(in_loop, "stage1") == 143
    assert run(in_loop, "stage1") == 0
    assert "stage1: going on after step 5\n" in capfd.readouterr().out
    for name in TRAINED:
        assert (in_loop.data / "stage1" / name).read_bytes() == (with_stage1.data / "stage1" / name).read_bytes(), name


def test_a_damaged_image_is_named(in_loop, run, capfd):
    assert run(in_loop, "features") == 0
    for folder in sets(in_loop.data / "shards").values():
        for tar in tars(folder, TRAINING):
            content = bytearray(tar.read_bytes())
            place = content.find(b"IDAT")
            while place >= 0:
                content[place + 8] ^= 1
                place = content.find(b"IDAT", place + 1)
            tar.write_bytes(content)
    capfd.readouterr()
    assert run(in_loop, "stage1") == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "the image of row" in error and "is damaged" in error
