"""Karpathy's split of COCO's captions: a caption an entry, of which the part train2014 counts."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tests.data.formats.trained import MARK, trained
from tinygptv.data.recognise import recognise
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError

FILE = "coco_karpathy_train.json"
TRAIN, VAL = "train2014/COCO_train2014_000000057870.jpg", "val2014/COCO_val2014_000000522418.jpg"


def entry(image: str = TRAIN, caption: object = "A restaurant has wooden tables.", **more) -> dict:
    """An entry of the training file."""
    return {"caption": caption, "image": image, "image_id": f"coco_{int(image[-16:-4])}", **more}


@pytest.fixture
def read(tmp_path):
    """``read(entries)``: records and rejections of a file with the images of both splits."""
    for name in (TRAIN, VAL):
        draw(tmp_path / "images" / name)

    def make(entries, **settings):
        write_json(tmp_path / FILE, entries)
        return read_set(tmp_path, "karpathy", (FILE,), **settings)

    return make


def test_every_caption_is_a_record(read, tmp_path):
    found, rejected = read([entry(), entry(caption="Tables."), entry(VAL), entry()])
    assert rejected == []
    assert [item.record.id for item in found] == ["coco_57870", "coco_57870#2", "coco_522418", "coco_57870#3"]
    assert {(item.record.task, item.record.turns[0].accepted) for item in found} == {("caption", ())}
    assert found[2].image.path == tmp_path / "images" / VAL
    assert len(read([entry()], images="images/train2014")[0]) == 1, "the folder of the split is enough"


def test_the_part_is_what_paths_of_images_say(read):
    found, rejected = read([entry(), entry(VAL)], part="train")
    assert ([item.record.id for item in found], rejected) == (["coco_57870"], [])
    with pytest.raises(DataError, match="no image's path has 'test', the part that is named"):
        read([entry(), entry(VAL)], part="test")


def test_the_captions_of_the_other_files_are_each_right(read):
    said = ["A man.", "A man with a hat.", " ", "A man."]
    (found,), rejected = read([{"image": VAL, "caption": said}])
    assert rejected == []
    assert found.record.id == "COCO_val2014_000000522418"
    (turn,) = found.record.turns
    assert (turn.answer, turn.accepted) == ("A man.", (("A man.", 2.0), ("A man with a hat.", 1.0)))


def test_it_is_asked_for_with_the_templates_of_captions(read, build, tokenizer, smoke):
    found, _ = read([entry()])
    asked = [f"###Human: <Img>{MARK}</Img> {template} ###Assistant: " for template in TEMPLATES["caption"]]
    assert trained(build, tokenizer, smoke.stage4, found) == {
        (prompt, "A restaurant has wooden tables.###") for prompt in asked
    }


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"caption": "A man."}, "has no `image`"),
        ({"image": TRAIN, "image_id": "coco_1"}, "has no `caption`"),
        (entry(caption=[1]), "`caption` must be a text or a list of texts"),
        (entry(caption=[]), "`caption` is empty"),
        (entry(caption=" \u200b"), "`caption` is empty"),
        (entry(image_id=None), "`image_id` must be an id"),
        (entry(image=TRAIN.replace("57870", "57871")), f"its image '{TRAIN.replace('57870', '57871')}' is missing"),
        ("A man.", "is no object"),
    ],
)
def test_a_broken_entry_is_left_out(read, broken, reason):
    found, (rejection,) = read([entry(), broken], part="train")
    assert len(found) == 1
    assert rejection["reason"].startswith(reason)


def test_it_is_recognised_by_cocos_names_and_is_no_table_of_pairs(read, tmp_path):
    read([entry(), entry(VAL)])
    ((form, found),) = recognise(tmp_path).items()
    assert (form, found.files, found.images) == ("karpathy", (tmp_path / FILE,), tmp_path / "images")
    assert "with a name of COCO's, and `caption`" in found.why
    for own in ({"image": "1.jpg", "caption": "a cat", "image_id": 1}, {"image": TRAIN, "caption": "a cat"}):
        read([own])
        assert list(recognise(tmp_path)) == ["pairs"]
