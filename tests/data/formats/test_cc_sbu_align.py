"""MiniGPT-4's captions: ids that need not differ, captions as they are, and the four prompts of alignment."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tests.data.formats.trained import MARK, trained
from tinygptv.data.recognise import recognise
from tinygptv.data.tasks import TEMPLATES
from tinygptv.ground.errors import DataError

CAPTION = 'The image shows a man #1: "Hello"; 3.5 m away.\nHe waves.'
ENTRIES = [
    {"image_id": "2", "caption": CAPTION},
    {"image_id": 9, "caption": "A cat."},
    {"image_id": "2", "caption": CAPTION},
]
FILE = "cc_sbu_align/filter_cap.json"


@pytest.fixture
def read(tmp_path):
    """``read(content)``: records and rejections of a file with the images 2 and 9."""
    for number in (2, 9):
        draw(tmp_path / "cc_sbu_align" / "image" / f"{number}.jpg", number)

    def make(content, **settings):
        write_json(tmp_path / FILE, content)
        return read_set(tmp_path, "cc_sbu_align", (FILE,), **{"images": "cc_sbu_align", **settings})

    return make


def test_the_official_layout(read, tmp_path):
    found, rejected = read({"annotations": ENTRIES})
    assert [item.record.id for item in found] == ["2", "9", "2#2"], "each entry is trained on, as its publishers do"
    assert {item.record.task for item in found} == {"caption"}
    assert found[0].record.turns[0].answer == CAPTION, "as it is written"
    assert found[1].image.path == tmp_path / "cc_sbu_align" / "image" / "9.jpg"
    assert rejected == []
    assert len(read({"annotations": ENTRIES}, images="cc_sbu_align/image")[0]) == 3


def test_it_is_asked_with_the_four_prompts_of_alignment(read, build, tokenizer, smoke):
    found, _ = read({"annotations": ENTRIES[:1]})
    texts = trained(build, tokenizer, smoke.stage3, found, "align")
    asked = [f"###Human: <Img>{MARK}</Img> {template} ###Assistant: " for template in TEMPLATES["align"]]
    assert {prompt for prompt, _ in texts} == set(asked)
    assert len(asked) == 4
    assert {answer.removesuffix("###") for _, answer in texts} == {CAPTION}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"image_id": "2"}, "has no `caption`"),
        ({"image_id": "2", "caption": ["A cat."]}, "`caption` must be text, not \"['A cat.']\""),
        ({"image_id": None, "caption": "A cat."}, "`image_id` must be an id, text or a whole number, not 'None'"),
        ("A cat.", "is no object"),
        ({"image_id": "../2", "caption": "A cat."}, "its image 'image/../2.jpg' is missing below "),
        ({"image_id": 7, "caption": "A cat."}, "its image 'image/7.jpg' is missing below "),
    ],
)
def test_a_broken_entry_is_left_out_and_the_others_stay(read, entry, reason):
    found, (rejection,) = read({"annotations": [entry, *ENTRIES]})
    assert len(found) == 3
    assert rejection["reason"].startswith(reason)
    assert "missing" in reason or rejection["id"] == "filter_cap.json, annotations 1"


@pytest.mark.parametrize("content", [{"captions": ENTRIES}, {"annotations": []}, {}])
def test_another_object_is_refused(read, content):
    with pytest.raises(DataError, match=r"filter_cap.json has no `annotations`, or nothing in it; name a file such as"):
        read(content)


def test_a_list_a_damaged_file_and_a_part_are_refused(read, tmp_path):
    with pytest.raises(DataError, match="must be a JSON object"):
        read(ENTRIES)
    with pytest.raises(DataError, match="files of the form cc_sbu_align have no parts"):
        read({"annotations": ENTRIES}, part="train")
    read({"annotations": ENTRIES})
    path = tmp_path / FILE
    path.write_text(path.read_text()[:-9])
    with pytest.raises(DataError, match=r"filter_cap.json, line 1, column \d+: not valid JSON"):
        read_set(tmp_path, "cc_sbu_align", (FILE,), images="cc_sbu_align")


def test_it_is_recognised_and_cocos_captions_are_not(read, tmp_path):
    read({"annotations": ENTRIES})
    ((form, found),) = recognise(tmp_path / "cc_sbu_align").items()
    assert (form, found.files, found.images) == ("cc_sbu_align", (tmp_path / FILE,), tmp_path / "cc_sbu_align")
    assert "filter_cap.json has `annotations` with `image_id` and `caption`, and no `images`" in found.why
    read({"annotations": ENTRIES, "images": [{"id": 2, "file_name": "2.jpg"}]})
    assert list(recognise(tmp_path / "cc_sbu_align")) == ["coco_captions"]
