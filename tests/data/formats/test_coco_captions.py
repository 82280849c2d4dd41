"""COCO's captions: all of an image are one record, wherever they stand."""

from __future__ import annotations

import json

import pytest

from tinygptv.data.formats.coco_captions import annotations
from tinygptv.ground.errors import DataError

IMAGES = [{"id": number, "file_name": f"COCO_val2014_{number:012d}.jpg", "width": 4, "height": 3} for number in (7, 3)]
CAPTIONS = [
    {"image_id": 3, "id": 1, "caption": "A dog."},
    {"image_id": 7, "id": 2, "caption": "A cat."},
    {"image_id": 3, "id": 3, "caption": "A brown dog\n"},
    {"image_id": 3, "id": 4, "caption": "A brown dog\n"},
    {"image_id": 3, "id": 5, "caption": " "},
]
INFO = {"info": {"year": 2014}, "licenses": []}


@pytest.fixture
def read(tmp_path):
    def make(*contents, part=""):
        files = []
        for number, content in enumerate(contents):
            files.append(tmp_path / f"{number}.json")
            files[-1].write_text(content if isinstance(content, str) else json.dumps(content))
        return list(annotations(files, part))

    return make


@pytest.fixture
def refusal(read):
    def make(*contents, part=""):
        with pytest.raises(DataError) as raised:
            read(*contents, part=part)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return make


@pytest.mark.parametrize("first", ["images", "annotations"])
def test_captions_stand_before_or_after_the_images(read, first):
    parts = {"images": IMAGES, "annotations": CAPTIONS}
    content = {**INFO, first: parts.pop(first), **parts}
    cat, dog = read(content, part="val2014")
    assert (cat.id, cat.task, cat.question, cat.answer, cat.accepted) == ("7", "caption", "", "A cat.", ())
    assert cat.images[:2] == ("COCO_val2014_000000000007.jpg", "val2014/COCO_val2014_000000000007.jpg")
    assert cat.truth == {"answer": "A cat.", "answers": ["A cat."]}
    assert dog.answer == "A brown dog\n", "the heaviest"
    assert dog.accepted == (("A dog.", 1.0), ("A brown dog\n", 2.0))
    assert dog.truth["answers"] == ["A dog.", "A brown dog\n", "A brown dog\n", " "], "what is counted is the file's"


def test_several_files_are_read_as_one(read):
    one, two = ({"images": [image], "annotations": []} for image in IMAGES)
    one["annotations"] = CAPTIONS[1:2]
    two["annotations"] = CAPTIONS[:1]
    assert [item.id for item in read(one, two)] == ["7", "3"]


def test_an_image_without_a_caption_is_left_out_and_told(read):
    found = read({"images": IMAGES, "annotations": CAPTIONS[1:2]})
    assert [item["reason"] if isinstance(item, dict) else item.id for item in found] == ["7", "has no caption"]
    assert found[1]["id"] == "3"


@pytest.mark.parametrize(
    ("images", "captions", "message"),
    [
        (IMAGES[:1], CAPTIONS, "0.json, annotations 1: its image 3 is not among `images`"),
        ([*IMAGES, IMAGES[0]], CAPTIONS, "images 3: the id 7 stands twice"),
        (IMAGES, [{"image_id": 7}], "annotations 1 has no `caption`"),
        (IMAGES, [{"image_id": 7, "caption": 3}], "`caption` must be text"),
        (IMAGES, [{"image_id": 1.5, "caption": "a"}], "`image_id` must be an id"),
        (IMAGES, ["a"], "annotations 1 is no object"),
        ([{"id": 7}], [], "images 1 has no `file_name`"),
        (IMAGES, [{"image_id": 7, "caption": "\ud83d"}], "annotations 1 has half a character"),
    ],
)
def test_a_broken_entry_is_named(refusal, images, captions, message):
    assert message in refusal({"images": images, "annotations": captions})


def test_images_of_another_split_are_refused(refusal):
    said = refusal({"images": IMAGES, "annotations": CAPTIONS}, part="train2014")
    assert "0.json, images 1 is of val2014, not of train2014" in said


@pytest.mark.parametrize("content", [{"questions": []}, {}, "[]", "", "{"])
def test_another_file_is_refused(refusal, content):
    assert "0.json" in refusal(content)
