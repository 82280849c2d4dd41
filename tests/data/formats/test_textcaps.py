"""TextCaps: each caption of an image is a record, and the split of a file is what it says."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tests.data.formats.trained import MARK, trained
from tinygptv.data.recognise import recognise
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError

FILE = "TextCaps_0.1_train.json"
HEAD = {"dataset_type": "train", "dataset_name": "textcaps", "dataset_version": "0.1"}


def caption(number: int, text: str = "A sign that says 3.5.", image: str = "054c91397f2fe05a") -> dict:
    """An entry, with what is not needed as well."""
    more = {"image_path": f"train/{image}.jpg", "reference_strs": [text], "set_name": "train", "image_width": 8}
    return {"image_id": image, "caption_id": number, "caption_str": text, **more}


@pytest.fixture
def read(tmp_path):
    """``read(entries)``: records and rejections of a file with one image."""
    draw(tmp_path / "images" / "train_images" / "054c91397f2fe05a.jpg")

    def make(entries, head=HEAD, **settings):
        write_json(tmp_path / FILE, {**head, "data": entries})
        return read_set(tmp_path, "textcaps", (FILE,), **settings)

    return make


def test_several_captions_of_an_image_are_several_records(read):
    (first, second), rejected = read([caption(0), caption(1, "A stop sign.")])
    assert rejected == []
    assert [first.record.id, second.record.id] == ["054c91397f2fe05a", "054c91397f2fe05a#2"]
    assert [item.record.turns[0].answer for item in (first, second)] == ["A sign that says 3.5.", "A stop sign."]
    assert first.image == second.image
    assert len(read([caption(0)], images="images/train_images")[0]) == 1


def test_it_is_asked_for_with_the_templates_of_captions(read, build, tokenizer, smoke):
    found, _ = read([caption(0)])
    asked = [f"###Human: <Img>{MARK}</Img> {template} ###Assistant: " for template in TEMPLATES["caption"]]
    assert trained(build, tokenizer, smoke.stage4, found) == {(prompt, "A sign that says 3.5.###") for prompt in asked}
    assert len(asked) == 17 and all("[caption] " in prompt for prompt in asked)


def test_the_paper_trains_on_the_caption_as_blip_has_it(read, build, tokenizer, smoke):
    found, _ = read([caption(0)], blip_caption=("answer",))
    assert {answer for _, answer in trained(build, tokenizer, smoke.stage4, found)} == {"a sign that says 3 5###"}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"image_id": "054c91397f2fe05a", "caption_id": 5}, "has no `caption_str`"),
        ({**caption(5), "caption_str": None}, "`caption_str` must be text"),
        ({**caption(5), "image_id": ["a"]}, "`image_id` must be an id"),
        (caption(5, image="0f"), "its image '0f.jpg' is missing below "),
        (3, "is no object"),
    ],
)
def test_a_broken_entry_is_left_out(read, entry, reason):
    found, (rejection,) = read([caption(0), entry])
    assert len(found) == 1
    assert rejection["reason"].startswith(reason)


def test_a_file_of_another_part_is_refused(read):
    assert len(read([caption(0)], part="train")[0]) == 1
    with pytest.raises(DataError, match=r"TextCaps_0.1_train.json is of val, not of train"):
        read([caption(0)], {**HEAD, "dataset_type": "val"}, part="train")
    with pytest.raises(DataError, match="has no `data`, or nothing in it"):
        read([])


def test_it_is_recognised(read, tmp_path):
    read([caption(0)])
    ((form, found),) = recognise(tmp_path / FILE, tmp_path / "images").items()
    assert (form, found.files, found.images) == ("textcaps", (tmp_path / FILE,), tmp_path / "images")
    assert "has `data` with `image_id` and `caption_str`" in found.why
