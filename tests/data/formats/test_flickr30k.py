"""Flickr30k's three files: what each becomes, and the boxes that their texts must have."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tests.data.formats.trained import MARK, trained
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError

IMAGE = 1000092795
GROUNDED = (
    "<p>Two young guys</p> {<25><10><46><99>}<delim>{<52><12><75><98>} look at <p>their hands</p> {<40><30><40><48>}"
)
OUTPUT = "<p>Two young guys</p> {<25><10><46><99>}<delim>{<52><12><75><98>}"
GROUNDING = {"image_id": str(IMAGE), "grounded_caption": GROUNDED}
CAPTION = {"image_id": IMAGE, "caption": "Two young guys look at their hands.", "output": OUTPUT}
PHRASE = {"image_id": str(IMAGE), "phrase": "their hands", "bbox": "{<40><30><44><48>}"}
FILES = {"groundedcaption.json": [GROUNDING], "captiontobbox.json": [CAPTION], "phrasetobbox.json": [PHRASE]}


@pytest.fixture
def read(tmp_path):
    """``read({file: content})``: records and rejections, with the image of all of them."""
    draw(tmp_path / "images" / f"{IMAGE}.jpg")

    def make(files, **settings):
        for name, content in files.items():
            write_json(tmp_path / name, content)
        return read_set(tmp_path, "flickr30k", tuple(files), **settings)

    return make


def test_the_three_files_are_told_apart_by_their_keys(read):
    (grounding, caption, phrase), rejected = read(FILES)
    assert rejected == []
    assert [item.record.id for item in (grounding, caption, phrase)] == [f"{IMAGE}", f"{IMAGE}#2", f"{IMAGE}#3"]
    assert (grounding.record.task, grounding.record.turns[0].question) == ("grounding", "")
    assert grounding.record.turns[0].answer == GROUNDED
    assert grounding.record.boxes == ((25, 10, 46, 99), (52, 12, 75, 98), (40, 30, 41, 48)), "none without a width"
    assert (caption.record.task, caption.record.turns[0].question) == ("detection", CAPTION["caption"])
    assert (phrase.record.task, phrase.record.turns[0].question) == ("detection", "their hands")
    assert (phrase.record.boxes, phrase.record.annotation) == (((40, 30, 44, 48),), {})


def test_captions_with_boxes_are_asked_for_with_the_four_templates(read, build, tokenizer, smoke):
    found, _ = read({"groundedcaption.json": [GROUNDING]})
    texts = trained(build, tokenizer, smoke.stage4, found)
    asked = [f"###Human: <Img>{MARK}</Img> {template} ###Assistant: " for template in TEMPLATES["grounding"]]
    assert texts == {(prompt, f"{GROUNDED}###") for prompt in asked}
    assert len(asked) == 4 and all("[grounding] " in prompt for prompt in asked)


def test_answers_of_detection_are_as_they_are_written(read, build, tokenizer, smoke):
    found, _ = read({"captiontobbox.json": [CAPTION], "phrasetobbox.json": [PHRASE]})
    head, tail = f"###Human: <Img>{MARK}</Img> [detection] ", " ###Assistant: "
    assert trained(build, tokenizer, smoke.stage4, found) == {
        (f"{head}Two young guys look at their hands.{tail}", f"{OUTPUT}###"),
        (f"{head}their hands{tail}", "<p>their hands</p> {<40><30><44><48>}###"),
    }


def test_images_may_lie_in_the_folder_of_the_archive(read, tmp_path):
    (tmp_path / "flickr" / "flickr30k-images").mkdir(parents=True)
    (tmp_path / "images" / f"{IMAGE}.jpg").rename(tmp_path / "flickr" / "flickr30k-images" / f"{IMAGE}.jpg")
    assert len(read(FILES, images="flickr")[0]) == 3
    assert len(read(FILES, images="flickr/flickr30k-images")[0]) == 3


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({**GROUNDING, "grounded_caption": "Two young guys"}, "the answer names no box such as {<10><20><30><40>}"),
        ({**PHRASE, "bbox": "none"}, "the answer names no box"),
        ({**PHRASE, "bbox": [40, 30, 44, 48]}, "`bbox` must be text, not '[40, 30, 44, 48]'"),
        ({**CAPTION, "output": None}, "`output` must be text"),
        ({"image_id": 1, "caption": "a cat"}, "has neither `grounded_caption`, nor `caption` and `output`, nor"),
        ({**PHRASE, "image_id": 7}, "its image '7.jpg' is missing below "),
        (["a cat"], "is no object"),
    ],
)
def test_a_broken_entry_is_left_out(read, entry, reason):
    found, (rejection,) = read({"phrasetobbox.json": [PHRASE, entry, GROUNDING]})
    assert len(found) == 2
    assert rejection["reason"].startswith(reason)


@pytest.mark.parametrize("box", ["{<40><30><144><48>}", "{<44><30><40><48>}", "{<40><48><44><30>}"])
def test_a_box_that_is_no_place_breaks_the_record(read, box):
    with pytest.raises(DataError, match=r"a box is four whole numbers|left edge is right|upper edge is below"):
        read({"phrasetobbox.json": [{**PHRASE, "bbox": f"{PHRASE['bbox']}<delim>{box}"}]})


def test_an_object_over_several_lines_and_a_part_are_refused(read):
    with pytest.raises(DataError, match="files of the form flickr30k have no parts"):
        read(FILES, part="train")
    with pytest.raises(DataError, match=r"none of its `files` is one of \.json"):
        read({"groundedcaption.txt": []})
