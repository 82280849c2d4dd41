"""The step ``features``: what a kill leaves is used, and memory holds one batch of images."""

from __future__ import annotations

import json
import weakref

import pytest

from tinygptv.data import features as made
from tinygptv.data import shards
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.summary import tars
from tinygptv.ground.processes import Interrupted
from tinygptv.steps import features as step

SHARDS, IMAGES = 5, 20
FEATURES = "image_sizes: [32, 64]\n  batch_size: 100\n"


@pytest.fixture
def small(checkout):
    """Shards of four images each, and the features of a run that nothing disturbed are not there yet."""
    folder = checkout.data / "shards"
    samples = list(read_samples(tars(folder, "train-*.tar")))[:IMAGES]
    write_shards(folder, "train", samples, images_per_shard=IMAGES // SHARDS)
    return checkout


@pytest.fixture
def encoded(monkeypatch):
    """Keys of the images that went through the encoder, in their order."""
    keys = []

    def encode(encoder, processors, samples, call=step.encode):
        keys.extend(sample.key for sample in samples)
        return call(encoder, processors, samples)

    monkeypatch.setattr(step, "encode", encode)
    return keys


def outputs(checkout):
    return {name: content for name, content in checkout.outputs().items() if "/features/" in name}


@pytest.mark.parametrize("survivors", range(SHARDS + 1))
@pytest.mark.parametrize("late", [False, True], ids=["before it is on record", "after"])
def test_a_kill_costs_a_shard_at_most(small, run, encoded, monkeypatch, survivors, late):
    assert run(small, "features") == 0
    expected = outputs(small)
    assert len(expected) == 2 * (SHARDS + 1) + 1
    assert len(set(encoded)) == len(encoded) == IMAGES

    def kill(self, name, *rest, add=made.FinishedShards.add):
        if late:
            add(self, name, *rest)
        if name == f"train-{survivors:06d}.tar":
            raise Interrupted(15)
        if not late:
            add(self, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(made.FinishedShards, "add", kill)
        assert run(small, "features") == (143 if survivors < SHARDS else 0)
    encoded.clear()
    assert run(small, "features") == 0
    left = 0 if survivors == SHARDS else survivors + late
    assert len(encoded) == IMAGES - left * IMAGES // SHARDS
    assert outputs(small) == expected
    assert not list(small.state.glob("features/*"))


@pytest.mark.parametrize("change", ["batch_size", "shard", "fewer", "tar", "encoder"])
def test_what_was_made_of_other_things_is_made_again(small, run, encoded, monkeypatch, change):
    def kill(self, name, *rest, add=made.FinishedShards.add):
        add(self, name, *rest)
        if name == "train-000001.tar":
            raise Interrupted(15)

    with monkeypatch.context() as patch:
        patch.setattr(made.FinishedShards, "add", kill)
        assert run(small, "features") == 143
    encoded.clear()
    again = 0
    if change == "batch_size":
        small.edit(FEATURES, FEATURES.replace("100\n", "2\n"))
        again = 2
    elif change == "shard":
        samples = list(read_samples(tars(small.data / "shards", "train-*.tar")))
        write_shards(small.data / "shards", "train", samples[::-1], images_per_shard=IMAGES // SHARDS)
        again = 2
    elif change == "fewer":  # what is left of shards that are gone is no part of the output
        samples = list(read_samples(tars(small.data / "shards", "train-*.tar")))
        write_shards(small.data / "shards", "train", samples, images_per_shard=IMAGES)
        again = 2
    elif change == "tar":
        path = small.state / "features" / "64" / "train-000001.tar"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        again = 1
    else:
        (small.data / "backbones" / "image_encoder.safetensors").touch()
    assert run(small, "features") == 0
    assert len(encoded) == IMAGES - (2 - again) * IMAGES // SHARDS
    for size in ("32", "64"):
        names = [path.name for path in tars(small.data / "features" / size)]  # refuses one that is not listed
        assert names == [path.name for path in tars(small.data / "shards", "train-*.tar")]


def test_one_batch_of_images_is_in_memory(small, run, monkeypatch):
    small.edit(FEATURES, FEATURES.replace("100\n", "2\n"))
    seen, most = [], 0

    def parse(*arguments, call=shards.parse_sample):
        nonlocal most
        sample = call(*arguments)
        seen.append(weakref.ref(sample.image))
        most = max(most, sum(image() is not None for image in seen))
        return sample

    monkeypatch.setattr(shards, "parse_sample", parse)
    assert run(small, "features") == 0
    assert json.loads((small.data / "features" / "manifest.json").read_bytes())["images"] == IMAGES
    assert most <= 4


def test_progress_tells_images_and_time_left(small, run, monkeypatch, capfd):
    monkeypatch.setattr("tinygptv.ground.progress.PLAIN_INTERVAL_S", 0.0)
    assert run(small, "features") == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("features: ")]
    assert lines[0].startswith(f"features: 4/{IMAGES}, ") and lines[0].endswith(" s left")
    assert [line.startswith(f"features: {IMAGES}/{IMAGES}, ") for line in lines] == [False] * (SHARDS - 1) + [True]
