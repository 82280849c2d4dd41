"""Names of COCO's images: that of the split comes first, and no other is left out."""

import pytest

from tinygptv.data.coco import image_names, names_of_file, split_of_file


def test_the_split_that_is_known_comes_first():
    assert image_names(42, "val2017")[:2] == ("000000000042.jpg", "val2017/000000000042.jpg")
    assert image_names(42, "test2015")[:2] == (
        "COCO_test2015_000000000042.jpg",
        "test2015/COCO_test2015_000000000042.jpg",
    )
    assert image_names(42)[0] == "COCO_train2014_000000000042.jpg"


def test_every_split_is_looked_for_once():
    names = image_names(42, "val2014")
    assert set(names) == set(image_names(42))
    assert len(names) == len(set(names)) == 9


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("COCO_train2014_000000000042.jpg", "train2014"),
        ("train2014/COCO_train2014_000000000042.jpg", "train2014"),
        ("000000000042.jpg", ""),
        ("/data/val2017/000000000042.jpg", ""),
    ],
)
def test_a_name_in_annotations_comes_first_and_all_others_that_the_image_may_have_follow(file, split):
    names = names_of_file(file)
    assert names[0] == file
    assert set(image_names(42)) <= set(names)
    assert len(names) == len(set(names)) <= 11
    assert split_of_file(file) == split


@pytest.mark.parametrize("file", ["cats/1.png", "COCO_train2014_42.jpg", "../x"])
def test_other_names_stay_as_they_are(file):
    assert names_of_file(file) == tuple(dict.fromkeys((file, file.rpartition("/")[2])))
    assert split_of_file(file) == ""
