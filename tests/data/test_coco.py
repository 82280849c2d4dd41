"""Names of COCO's images: that of the split comes first, and no other is left out."""

from tinygptv.data.coco import image_names


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
