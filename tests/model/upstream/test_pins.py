"""The lock file is complete, or nothing of it is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinygptv.ground.errors import DataError
from tinygptv.model.upstream import pins
from tinygptv.model.upstream.pins import INDEX, Pin, Repository

ROOT = Path(__file__).resolve().parents[3]
PIN = Pin(size=3, sha256="1" * 64)
WHOLE = Repository(revision="a" * 40, files={"model.safetensors": PIN})


def test_an_address_takes_the_place_of_a_revision(tmp_path):
    entry = Repository(address="https://a.b/c", revision=None, files={"a.pth": PIN})
    pins.write_pins(tmp_path / "lock.json", {"a/b": entry})
    assert pins.pinned(tmp_path / "lock.json", ["a/b"]) == {"a/b": entry}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "lock.json"
    pins.write_pins(path, {"a/b": WHOLE})
    assert pins.read_pins(path) == {"a/b": WHOLE}
    assert pins.pinned(path, ["a/b"]) == {"a/b": WHOLE}


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (WHOLE.model_copy(update={"revision": None}), "revision"),
        (Repository(revision="a" * 40, files={"model.safetensors": Pin(size=3, sha256=None)}), "model.safetensors"),
        (
            Repository(revision="a" * 40, files={"model.safetensors": Pin(size=None, sha256="1" * 64)}),
            "model.safetensors",
        ),
        (Repository(revision="a" * 40, files={INDEX: PIN}), "its files of weights"),
        (
            Repository(address="https://a.b/c", revision=None, files={"a.pth": Pin(size=None, sha256=None)}),
            "a.pth",
        ),
    ],
)
def test_an_unpinned_source_is_not_used(tmp_path, entry, what):
    path = tmp_path / "lock.json"
    pins.write_pins(path, {"a/b": entry, "c/d": WHOLE})
    with pytest.raises(DataError) as caught:
        pins.pinned(path, ["a/b", "c/d", "e/f"])
    message = str(caught.value)
    assert "\n" not in message
    assert f"a/b ({what})" in message
    assert "e/f (the repository)" in message
    assert "c/d" not in message
    assert pins.COMMAND in message


@pytest.mark.parametrize(
    "change",
    [
        {"revision": "main"},
        {"files": {"model.safetensors": {"size": 3, "sha256": "ABC"}}},
        {"files": {"../model.safetensors": {"size": 3, "sha256": None}}},
        {"files": {"a/model.safetensors": {"size": 3, "sha256": None}}},
        {"files": {"model.safetensors": {"size": -1, "sha256": None}}},
        {"more": 1},
        {"address": "http://a.b/c"},
        {"address": "https://a.b/c?d"},
    ],
)
def test_another_form_is_refused(tmp_path, change):
    path = tmp_path / "lock.json"
    path.write_text(json.dumps({"a/b": WHOLE.model_dump() | change}))
    with pytest.raises(DataError, match=r"lock\.json: a/b.*restore") as caught:
        pins.read_pins(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"lock\.json is missing"):
        pins.read_pins(tmp_path / "lock.json")


def test_shards_are_those_that_hold_the_tensors():
    table = {
        "vision_model.a": "1",
        "vision_model.b": "2",
        "qformer.c": "2",
        "language_model.d": "3",
        "query_tokens": "4",
    }
    index = {"metadata": {}, "weight_map": table}
    assert pins.needed_shards(index, pins.IMAGE_ENCODER_TENSORS, "x") == ["1", "2", "4"]
    assert pins.needed_shards(index, pins.LANGUAGE_MODEL_TENSORS, "x") == ["1", "2", "3", "4"]
    for wrong in ([], {}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"language_model.d": "3"}}):
        with pytest.raises(DataError, match=r"the\.index has no"):
            pins.needed_shards(wrong, pins.IMAGE_ENCODER_TENSORS, "the.index")


def test_the_committed_file_has_the_repositories_of_the_published_profiles():
    from tinygptv.config import Published
    from tinygptv.config.profiles import read_config

    committed = pins.read_pins(ROOT / pins.PINS)
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        settings = read_config(path).backbones
        if isinstance(settings, Published):
            assert {settings.language_model, settings.image_encoder} <= committed.keys()
