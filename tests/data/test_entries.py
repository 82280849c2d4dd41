"""What official files must have: every fault is one line that names the entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinygptv.data.entries import (
    Ids,
    checked_split,
    content_of,
    file_of,
    id_of,
    label_of,
    named_part,
    part_of,
    value_of,
)
from tinygptv.data.json_items import JsonItem
from tinygptv.ground.errors import DataError

PARTS = ("dev_seen", "dev_unseen", "dev", "test")


@pytest.mark.parametrize("kind", [str, int, dict, list])
def test_a_value_is_of_its_kind(kind):
    values = {"text": "a", "number": 1, "object": {}, "list": []}
    for key, value in values.items():
        if isinstance(value, kind):
            assert value_of(values, key, kind, "f, 1") is value
        else:
            with pytest.raises(DataError, match=f"f, 1: `{key}` must be"):
                value_of(values, key, kind, "f, 1")


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        (lambda: content_of(JsonItem("f, line 1", None, "is not valid JSON (x)")), "f, line 1 is not valid JSON"),
        (lambda: content_of(JsonItem("f, line 1", [1])), "f, line 1 is no object"),
        (lambda: value_of({}, "a", str, "f, 1"), "f, 1 has no `a`"),
        (lambda: value_of({"a": True}, "a", int, "f, 1"), "f, 1: `a` must be a whole number, not 'True'"),
        (lambda: value_of({"a": "x" * 99}, "a", int, "f, 1"), f"not '{'x' * 50}'$"),
        (lambda: id_of({"a": 1.0}, "a", "f, 1"), "f, 1: `a` must be an id"),
        (lambda: id_of({}, "a", "f, 1"), "f, 1: `a` must be an id"),
        (lambda: label_of({"a": 2}, "a", "f, 1"), "f, 1: `a` must be 0 or 1, not 2"),
    ],
)
def test_faults(fail, words):
    with pytest.raises(DataError, match=words):
        fail()


def test_an_id_is_the_same_as_a_number_and_as_text():
    assert id_of({"a": 7}, "a", "f, 1") == id_of({"a": "7"}, "a", "f, 1") == "7"


def test_ids_are_there_once():
    ids = Ids()
    assert ids.add("7", "f, 1") == "7"
    ids.add("8", "f, 2")
    with pytest.raises(DataError, match="f, 3: the id 7 stands twice"):
        ids.add("7", "f, 3")


def test_the_first_part_is_that_without_a_name():
    assert (part_of("", PARTS), part_of("test", PARTS)) == ("dev_seen", "test")
    with pytest.raises(DataError, match="there is no part val; there are dev_seen, dev_unseen, dev, test"):
        part_of("val", PARTS)


@pytest.mark.parametrize(
    ("names", "part", "found"),
    [
        (["dev_seen.jsonl", "dev_unseen.jsonl", "dev.jsonl"], "dev", "dev.jsonl"),
        (["dev_seen.jsonl", "dev_unseen.jsonl", "dev.jsonl"], "", "dev_seen.jsonl"),
        (["coco_TEST_1.json", "dev.jsonl"], "test", "coco_TEST_1.json"),
        (["latest.json"], "dev", "latest.json"),
        (["dev.jsonl", "test.png", "test.jsonl"], "test", "test.jsonl"),
    ],
)
def test_the_file_of_a_part(names, part, found):
    assert file_of([Path(name) for name in names], part, PARTS).name == found


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["dev_unseen.jsonl"], "dev_unseen"),
        (["own.jsonl"], "dev_seen"),
        (["dev.jsonl", "test.jsonl"], "dev_seen"),
        (["test/own.jsonl", "a_test.jsonl"], "test"),
    ],
)
def test_the_part_that_names_of_files_say(names, part):
    assert named_part([Path(name) for name in names], PARTS) == part
    assert named_part([Path(name) for name in names], ()) == ""


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "no file is of the part test; there is nothing"),
        (["dev.jsonl"], r"no file is of the part test; there is dev\.jsonl"),
        (["a.jsonl", "b.jsonl"], r"no file is of the part test; there is a\.jsonl, b\.jsonl"),
        (["a/test.jsonl", "b/test.jsonl"], r"several files are of the part test: a/test\.jsonl, b/test\.jsonl; name"),
    ],
)
def test_no_file_or_several(names, words):
    with pytest.raises(DataError, match=words):
        file_of([Path(name) for name in names], "test", PARTS)


def test_a_split_is_known_by_its_name_without_the_year():
    path = Path("a.json")
    for told, part in (("val2014", "val"), ("val", "val"), ("val2014", ""), (None, "val"), (3, "val")):
        assert checked_split(told, part, path) == (told if isinstance(told, str) else "")
    for told in ("train2014", "test-val", "valid"):
        with pytest.raises(DataError, match=rf"a\.json is of {told}, not of val"):
            checked_split(told, "val", path)
