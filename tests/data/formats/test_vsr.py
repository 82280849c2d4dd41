"""VSR's statements: an id is a line, and images lie where COCO has them."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_lines
from tinygptv.data.formats.vsr import annotations
from tinygptv.ground.errors import DataError

STATEMENT = {
    "image": "000000017697.jpg",
    "image_link": "http://images.cocodataset.org/train2017/000000017697.jpg",
    "caption": "The car is behind the suitcase.",
    "label": 1,
    "relation": "behind",
    "subj": "car",
    "obj": "suitcase",
}


def test_the_official_layout(tmp_path):
    path = write_lines(tmp_path / "test.jsonl", [STATEMENT, {**STATEMENT, "label": 0}])
    first, second = annotations([path], "test")
    assert (first.id, second.id) == ("0", "1")
    assert first.question == "Is this statement true or false? The car is behind the suitcase."
    assert first.truth == {"answer": "true", "caption": "The car is behind the suitcase.", "relation": "behind"}
    assert second.answer == "false"


@pytest.mark.parametrize("folder", ["", "train2017", "val2017"])
def test_images_lie_flat_or_as_coco_has_them(tmp_path, folder):
    write_lines(tmp_path / "test.jsonl", [STATEMENT])
    draw(tmp_path / "images" / folder / STATEMENT["image"])
    (found,), rejected = read_set(tmp_path, "vsr", ("test.jsonl",))
    assert found.image is not None
    assert rejected == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": -1}, "line 2: `label` must be 0 or 1, not -1"),
        ({"label": True}, "line 2: `label` must be a whole number"),
        ({"label": None}, "line 2: `label` must be a whole number"),
        ({"caption": 3}, "line 2: `caption` must be text"),
    ],
)
def test_a_broken_entry_is_named(tmp_path, change, words):
    path = write_lines(tmp_path / "test.jsonl", [STATEMENT, {**STATEMENT, **change}])
    with pytest.raises(DataError, match=words):
        list(annotations([path], ""))


def test_a_file_of_another_split(tmp_path):
    with pytest.raises(DataError, match=r"no file is of the part test; there is dev\.jsonl"):
        list(annotations([write_lines(tmp_path / "dev.jsonl", [STATEMENT])], ""))


def test_two_files_of_a_split(tmp_path):
    files = [write_lines(tmp_path / kind / "test.jsonl", [STATEMENT]) for kind in ("random", "zeroshot")]
    with pytest.raises(DataError, match="several files are of the part test"):
        list(annotations(files, ""))


def test_a_file_by_any_other_name_is_taken_alone(tmp_path):
    assert len(list(annotations([write_lines(tmp_path / "latest.jsonl", [STATEMENT])], "dev"))) == 1
