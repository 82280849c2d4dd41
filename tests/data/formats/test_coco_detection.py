"""COCO's boxes: what becomes of a picture's objects, and what of boxes that are none."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.data.formats.official import read_set, write_json
from tinygptv.data.recognise import recognise
from tinygptv.data.records import Turn
from tinygptv.ground.errors import DataError

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "traffic light"}]


def image(number, file="", **changed):
    return {"id": number, "file_name": file or f"{number}.png", "width": 200, "height": 100, **changed}


def box(picture, category, *bbox, **changed):
    return {"id": 1, "image_id": picture, "category_id": category, "bbox": list(bbox), "area": 1, **changed}


PERSONS = [box(1, 1, 20.5, 10, 40.25, 50), box(1, 1, 100, 50, 100, 50), box(1, 18, 0, 0, 20, 10, iscrowd=0)]


@pytest.fixture
def read(tmp_path):
    """``read(annotations, images=..., categories=..., **settings)``."""

    def make(annotations, images=None, categories=CATEGORIES, content=None, files=("boxes.json",), **settings):
        images = [image(1)] if images is None else images
        whole = {"images": images, "annotations": annotations, "categories": categories, "info": {}}
        write_json(tmp_path / "boxes.json", whole if content is None else content)
        for name in ("1.png", "sub/2.png", "val2017/000000000003.jpg"):
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (200, 100), (len(name), 0, 0)).save(path)
        return read_set(tmp_path, "coco_detection", files, **settings)

    return make


def told(found):
    return {item.record.id: (item.record.task, item.record.turns[0]) for item in found}


def test_all_boxes_of_a_category_and_both_ways_of_one_that_is_there_once(read):
    found, rejected = read(PERSONS)
    assert rejected == []
    assert told(found) == {
        "1-person-detection": (
            "detection",
            Turn("person", "<p>person</p> {<10><10><30><60>}<delim>{<50><50><100><100>}"),
        ),
        "1-traffic light-detection": ("detection", Turn("traffic light", "<p>traffic light</p> {<0><0><10><10>}")),
        "1-traffic light-refer": ("refer", Turn("traffic light", "{<0><0><10><10>}")),
        "1-traffic light-identify": ("identify", Turn("{<0><0><10><10>}", "traffic light")),
    }
    assert found[0].record.boxes == ((10, 10, 30, 60), (50, 50, 100, 100))


@pytest.mark.parametrize("task", ["detection", "refer", "identify"])
def test_a_task_of_the_profile_alone(read, task):
    assert {item.record.task for item in read(PERSONS, task=task)[0]} == {task}


def test_another_task_is_refused(read):
    with pytest.raises(DataError, match="boxes become records of detection, refer, identify"):
        read(PERSONS, task="vqa")


def test_a_crowd_is_left_out_and_what_is_in_it_is_not_there_once(read):
    found, rejected = read([*PERSONS, box(1, 18, 50, 0, 20, 10, iscrowd=1), box(1, 90, 0, 0, 9, 9, iscrowd=1)])
    assert rejected == []
    assert told(found).keys() == {"1-person-detection", "1-traffic light-detection"}
    assert "{<0><0><10><10>}" in told(found)["1-traffic light-detection"][1].answer


@pytest.mark.parametrize(
    ("bbox", "text"),
    [
        ((0, 0, 0.5, 50), "{<0><0><1><50>}"),
        ((199.5, 99.8, 0.4, 0.1), "{<99><99><100><100>}"),
        ((-5, -5, 25, 15), "{<0><0><10><10>}"),
        ((100, 50, 100.4, 50.3), "{<50><50><100><100>}"),
    ],
)
def test_thin_boxes_and_those_over_the_edge(read, bbox, text):
    found, rejected = read([box(1, 1, *bbox)])
    assert rejected == []
    assert told(found)["1-person-refer"][1].answer == text


@pytest.mark.parametrize(
    ("bbox", "words"),
    [
        ((10, 10, 0, 5), "its bbox has no area"),
        ((10, 10, 5, 0.0), "its bbox has no area"),
        ((10, 10, -5, 5), "negative width or height"),
        ((300, 10, 5, 5), "nothing of its bbox lies in the picture of 200 x 100 pixels"),
        ((1, 2, 3), "bbox must be four numbers"),
        ((1, 2, 3, float("nan")), "not finite"),
        ((1, 2, 3, "4"), "bbox must be four numbers"),
    ],
)
def test_a_box_that_is_none_is_told_and_the_others_stay(read, bbox, words):
    found, (rejected,) = read([*PERSONS, box(1, 18, *bbox)])
    assert rejected["id"] == "boxes.json, annotations 4"
    assert words in rejected["reason"]
    assert told(found).keys() == {"1-person-detection", "1-traffic light-detection"}, "it may be there twice"


def test_too_many_boxes_of_a_category(read):
    many = [box(1, 1, number % 60 * 2, number // 60 * 20, 10, 10) for number in range(101)]
    found, (rejected,) = read([*many, box(1, 90, 0, 0, 9, 9)])
    assert rejected == {"id": "1-person", "reason": "has 101 boxes of person; 100 are the most"}
    assert len(found) == 3


def test_pictures_are_found_by_their_names(read, tmp_path):
    images = [
        image(2, "sub/2.png"),
        image(3, "COCO_train2014_000000000003.jpg"),
        image(1, "train/1.png"),
        image(4, "4.png"),
        image(5, "../boxes.json"),
    ]
    found, rejected = read([box(number, 90, 0, 0, 9, 9) for number in (1, 2, 3, 4, 5)], images)
    names = {item.image.path.relative_to(tmp_path / "images").as_posix() for item in found}
    assert names == {"1.png", "sub/2.png", "val2017/000000000003.jpg"}
    assert [(one["id"], one["reason"]) for one in rejected] == [
        ("4", "its picture '4.png' is not below images"),
        ("5", "its picture '../boxes.json' is not below images"),
    ]


def test_a_picture_of_another_size_is_told(read):
    for size, words in (((400, 200), "is of another size"), ((100, 200), "lies on its side in the file")):
        found, (rejected,) = read(PERSONS, [image(1, width=size[0], height=size[1])])
        assert found == []
        assert rejected["id"] == "1"
        assert words in rejected["reason"]
        assert f"as seen it has 200 x 100 pixels, and its boxes are of {size[0]} x {size[1]}" in rejected["reason"]


def test_a_damaged_picture_is_told(read, tmp_path):
    read(PERSONS)
    (tmp_path / "images" / "1.jpg").write_bytes(b"\xff\xd8no")
    found, (rejected,) = read(PERSONS, [image(1, "1.jpg")])
    assert found == []
    assert "cannot be decoded" in rejected["reason"]


def test_a_picture_without_a_box(read):
    found, rejected = read([box(2, 1, 0, 0, 9, 9)], [image(1), image(2, "sub/2.png")])
    assert {item.image.path.name for item in found} == {"2.png"}
    assert rejected == [{"id": "1", "reason": "has no box"}]


def test_files_of_several_splits(read, tmp_path):
    for split, number in (("train", 1), ("val", 2)):
        whole = {
            "annotations": [box(number, 1, 0, 0, 9, 9)],
            "images": [image(number, {1: "1.png", 2: "sub/2.png"}[number])],
            "categories": CATEGORIES,
        }
        write_json(tmp_path / f"instances_{split}2017.json", whole)
    found, _ = read(PERSONS, files=("instances_train2017.json", "instances_val2017.json"), task="refer")
    assert [(item.record.id, item.split) for item in found] == [("1-person-refer", "train"), ("2-person-refer", "val")]


@pytest.mark.parametrize(
    ("images", "annotations", "categories", "words"),
    [
        (None, [box(2, 1, 0, 0, 1, 1)], None, "annotations 1: its image 2 is not among `images`"),
        (None, [box(1, 2, 0, 0, 1, 1)], None, "annotations 1: its category 2 is not among `categories`"),
        ([image(1), image(1)], PERSONS, None, "images 2: the id 1 stands twice"),
        ([{"id": 1, "file_name": "1.png"}], PERSONS, None, "images 1 has no `width`"),
        ([image(1, width=0)], PERSONS, None, "images 1 is 0 x 100 pixels"),
        ([image(1, width=1 << 70)], PERSONS, None, "x 100 pixels; write the size of the picture"),
        ([image(1, "\ud83d")], PERSONS, None, "images 1 has half a character"),
        (None, PERSONS, [{"id": 1, "name": " "}], "categories 1: `name` is empty"),
        (None, PERSONS, [*CATEGORIES, {"id": 1, "name": "man"}], "categories 4: the id 1 has two names"),
        (None, PERSONS, [], "has no `categories`, or nothing in it"),
        ([], PERSONS, None, "has no `images`"),
    ],
)
def test_a_broken_file_is_one_line(read, images, annotations, categories, words):
    with pytest.raises(DataError) as raised:
        read(annotations, images, CATEGORIES if categories is None else categories)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_it_is_recognised(read, tmp_path):
    read(PERSONS)
    found = recognise(tmp_path / "boxes.json")
    assert list(found) == ["coco_detection"]
    assert (
        found["coco_detection"].why
        == "boxes.json has `images`, and `annotations` with a `bbox`, as COCO's files of objects"
    )
    assert (found["coco_detection"].files, found["coco_detection"].images) == (
        (tmp_path / "boxes.json",),
        tmp_path / "images",
    )
    assert recognise(tmp_path / "boxes.json", tmp_path)["coco_detection"].images == tmp_path


def test_a_folder_as_coco_has_it_is_recognised(read, tmp_path):
    read(PERSONS)
    boxes = {"images": [image(3, "000000000003.jpg")], "annotations": [box(3, 1, 0, 0, 9, 9)], "categories": CATEGORIES}
    joints = {**boxes, "annotations": [box(3, 1, 0, 0, 9, 9, keypoints=[0, 0, 2])]}
    captions = {"images": boxes["images"], "annotations": [{"image_id": 3, "caption": "a cat"}]}
    for name, content in (("instances_val2017", boxes), ("person_keypoints", joints), ("captions_val2017", captions)):
        write_json(tmp_path / "images" / "annotations" / f"{name}.json", content)
    folder = tmp_path / "images"
    for path in (folder / "annotations" / "captions_val2017.json", folder / "annotations"):
        found = recognise(path)["coco_captions"]
        assert [file.name for file in found.files] == ["captions_val2017.json"]
        assert found.images == folder
    found = recognise(folder / "annotations")["coco_detection"]
    assert [file.name for file in found.files] == ["instances_val2017.json"]
    settings = {"files": ("images/annotations/instances_val2017.json",)}
    assert len(read_set(tmp_path, "coco_detection", **settings)[0]) == 3
