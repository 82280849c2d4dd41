"""REFER's files and MiniGPT-4's: what is read of a split, and what is refused in one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from tinygptv.data.annotations import Annotation
from tinygptv.data.formats.refer import annotations
from tinygptv.ground.errors import DataError

BOXES = {1: [10.0, 20.0, 30.0, 40.0], 2: [0, 0, 640, 480], 3: [600.5, 400.25, 60.0, 80.0]}


def ref(number: int, split: str, *expressions: str, ann: int = 1, image: int = 9) -> dict:
    """An entry of REFER's list, with what is not needed as well."""
    sentences = [
        {"sent_id": 10 * number + place, "sent": text, "raw": text.upper(), "tokens": text.split()}
        for place, text in enumerate(expressions)
    ]
    ids = [sentence["sent_id"] for sentence in sentences]
    keys = {"ref_id": number, "ann_id": ann, "image_id": image, "split": split, "category_id": 18}
    return {**keys, "file_name": f"COCO_train2014_{image:012d}_{ann}.jpg", "sent_ids": ids, "sentences": sentences}


REFS = [
    ref(1, "train", "a dog"),
    ref(2, "testA", "left man", "man in red", ann=1),
    ref(3, "val", "whole picture", ann=2),
    ref(4, "testA", "at the edge", ann=3, image=11),
]
INSTANCES = {
    "info": {"year": 2014},
    "annotations": [
        {"id": ann, "image_id": 9, "bbox": box, "area": 1.5, "iscrowd": 0, "segmentation": [[1.0, 2.0, 3.0]]}
        for ann, box in BOXES.items()
    ],
    "images": [
        {"id": number, "file_name": f"COCO_train2014_{number:012d}.jpg", "width": 640, "height": 480, "license": 1}
        for number in (9, 11)
    ],
    "categories": [{"id": 18, "name": "dog"}],
}


@pytest.fixture
def folder(tmp_path):
    """``folder(refs, instances, protocol)``: the two files of REFER, to be changed."""

    def make(refs=REFS, instances=INSTANCES, protocol=2, name="refs(unc).p") -> list[Path]:
        (tmp_path / name).write_bytes(pickle.dumps(refs, protocol=protocol))
        (tmp_path / "instances.json").write_text(json.dumps(instances))
        return sorted(tmp_path.iterdir())

    return make


def read(files, part="") -> list[Annotation]:
    return list(annotations(files, part))


def refusal(files, part="") -> str:
    with pytest.raises(DataError) as raised:
        read(files, part)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_split_has_each_of_its_sentences_with_the_box_of_its_object(folder, protocol):
    found = read(folder(protocol=protocol), "testA")
    assert [(item.id, item.question) for item in found] == [
        ("20", "left man"),
        ("21", "man in red"),
        ("40", "at the edge"),
    ]
    first, last = found[0], found[2]
    assert first.task == "refer"
    assert first.answer == "{<1><4><6><12>}"
    assert first.boxes == ((1, 4, 6, 12),)
    assert first.truth == {"answer": "{<1><4><6><12>}", "bbox": BOXES[1], "width": 640, "height": 480}
    assert first.images[:2] == ("COCO_train2014_000000000009.jpg", "train2014/COCO_train2014_000000000009.jpg")
    assert "000000000009.jpg" in first.images
    assert last.truth["bbox"] == BOXES[3], "what is counted stays as the file has it"
    assert last.answer == "{<93><83><100><100>}", "and what is shown lies in the image"


def test_without_a_part_it_is_val(folder):
    assert [item.id for item in read(folder())] == ["30"]


def test_a_split_is_not_another_that_begins_so(folder):
    assert "has nothing of the split test; it has train, testA, val" in refusal(folder(), "test")


def test_texts_of_python_2_are_read(folder, tmp_path):
    files = folder()
    two = b"(lp0\n(dp1\nS'split'\np2\nS'val'\np3\nsS'ann_id'\nI2\nsS'image_id'\nL9L\nsS'ref_id'\nI7\nsS'sentences'\n"
    two += b"(lp4\n(dp5\nS'sent'\nS'caf\\xc3\\xa9'\nsS'sent_id'\nI70\nsasa."
    (tmp_path / "refs(unc).p").write_bytes(two)
    (found,) = read(files, "val")
    assert (found.id, found.question) == ("70", "café")


def test_the_published_splits_are_taken_before_the_first_authors(folder):
    folder([ref(9, "val", "google's own", ann=2)], name="refs(google).p")
    assert [item.question for item in read(folder(), "val")] == ["whole picture"]


def test_the_first_authors_splits_are_read_where_they_are_alone(folder):
    assert [item.id for item in read(folder(name="refs(google).p"), "val")] == ["30"]


def test_two_pickles_or_no_instances_are_refused(folder, tmp_path):
    files = folder()
    folder(name="refs(umd).p")
    assert "there are several pickles" in refusal(sorted(tmp_path.iterdir()))
    assert "needs the one file instances.json that it came with, and there is none" in refusal([files[1]])


@pytest.mark.parametrize(
    ("refs", "message"),
    [
        ([], "has nothing of the split val; it has no expressions"),
        ([ref(1, "train", "a"), ref(2, "testA", "b")], "has nothing of the split val; it has train, testA"),
        ([ref(1, "val", "a"), ref(1, "val", "b")], "entry 2: the id 10 stands twice"),
        ([ref(1, "val", "a", ann=77)], "entry 1: its annotation 77 is not in"),
        ([ref(1, "val", "a", image=77)], "entry 1: its image 77 is not in"),
        ([{"split": "val", "ann_id": 1, "sentences": []}], "`image_id` must be an id"),
        ([{"ann_id": 1}], "entry 1 has no `split`"),
        (["text"], "entry 1 has no `split`"),
        ([{**ref(1, "val"), "sentences": [{"sent": "a"}]}], "`sent_id` must be an id"),
        ([{**ref(1, "val"), "sentences": [{"sent_id": 3}]}], "has no `sent`"),
        ({"refs": []}, "holds a value of type dict, not REFER's list"),
    ],
)
def test_a_broken_pickle_is_named_with_its_entry(folder, refs, message):
    said = refusal(folder(refs), "val")
    assert message in said
    assert "refs(unc).p" in said


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        (None, "bbox must be four numbers"),
        ([1, 2, 3], "bbox must be four numbers"),
        ([1, 2, 3, "4"], "bbox must be four numbers"),
        ([1, 2, 3, True], "bbox must be four numbers"),
        ([1, 2, float("nan"), 4], "bbox has a number that is not finite"),
        ([1, 2, float("inf"), 4], "bbox has a number that is not finite"),
        ([1, 2, 10**400, 4], "bbox has a number that is not finite"),
        ([1, 2, -3, 4], "bbox has a negative width or height"),
        ([1, 2, 0, 4], "nothing of its bbox lies in the image of 640 x 480 pixels"),
        ([700, 2, 10, 10], "nothing of its bbox lies in the image of 640 x 480 pixels"),
    ],
)
def test_a_broken_box_is_named_with_its_entry(folder, bbox, message):
    broken = {**INSTANCES, "annotations": [{"id": 2, "bbox": bbox}]}
    said = refusal(folder(instances=broken), "val")
    assert message in said
    assert "instances.json, annotations 1" in said


@pytest.mark.parametrize("key", ["width", "height", "file_name"])
def test_an_image_without_what_is_needed_is_named(folder, key):
    images = [{name: value for name, value in image.items() if name != key} for image in INSTANCES["images"]]
    assert f"instances.json, images 1 has no `{key}`" in refusal(folder(instances={**INSTANCES, "images": images}))


def of_minigpt4(path: Path, *entries: dict) -> Path:
    path.write_text(json.dumps(entries))
    return path


def entry(image="COCO_train2014_000000581857_16", **keys) -> dict:
    return {"img_id": image, "sents": "the man", "bbox": [1.0, 2.0, 3.5, 4.0], "height": 100, "width": 200, **keys}


def test_minigpt4s_list_is_read(tmp_path):
    val = of_minigpt4(tmp_path / "refcoco_val.json", entry(), entry(sents=["man", "him"]), entry("img000002"))
    other = of_minigpt4(tmp_path / "refcoco_testA.json", entry(sents="other"))
    found = read([other, val], "val")
    assert [item.id for item in found] == [
        "COCO_train2014_000000581857_16",
        "COCO_train2014_000000581857_16#2",
        "COCO_train2014_000000581857_16#3",
        "img000002",
    ]
    assert [item.question for item in found] == ["the man", "man", "him", "the man"]
    assert found[0].truth == {"answer": "{<0><2><2><6>}", "bbox": [1.0, 2.0, 3.5, 4.0], "width": 200, "height": 100}
    assert found[0].images[0] == "COCO_train2014_000000581857.jpg"
    assert found[3].images == ("img000002.jpg",)
    assert [item.question for item in read([other, val], "testA")] == ["other"]


def test_minigpt4s_list_of_another_split_is_refused(tmp_path):
    path = of_minigpt4(tmp_path / "refcoco_testA.json", entry())
    assert "no file is of the part val; there is refcoco_testA.json" in refusal([path], "val")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sents": 3}, "`sents` must be a list"),
        ({"sents": []}, "`sents` must be a text or a list of texts"),
        ({"sents": ["a", None]}, "`sents` must be a text or a list of texts"),
        ({"bbox": None}, "bbox must be four numbers"),
        ({"width": "200"}, "`width` must be a whole number"),
        ({"image": 1.5}, "`img_id` must be an id"),
    ],
)
def test_a_broken_entry_of_minigpt4s_is_named(tmp_path, keys, message):
    path = of_minigpt4(tmp_path / "refcoco_val.json", entry(), entry(**keys))
    said = refusal([path], "val")
    assert message in said
    assert "refcoco_val.json, entry 2" in said
