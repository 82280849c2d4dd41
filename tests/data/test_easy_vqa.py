"""Facts from questions, boxes from pixels, splits from numbers."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageDraw

from tinygptv.data import easy_vqa, sources
from tinygptv.data.easy_vqa import Facts, derive_facts, pixel_box, read_candidates
from tinygptv.data.record_rules import RecordError
from tinygptv.data.records import TASKS
from tinygptv.ground.errors import DataError

TEMPLATES = [
    ("what is the red shape?", "circle", "circle", "red"),
    ("what color is the circle?", "red", "circle", "red"),
    ("what color is the shape?", "red", None, "red"),
    ("what is the color of the circle?", "red", "circle", "red"),
    ("what is the color of the shape?", "red", None, "red"),
    ("what shape does the image contain?", "circle", "circle", None),
    ("what shape is in the image?", "circle", "circle", None),
    ("what shape is present?", "circle", "circle", None),
]
WHETHER = [
    ("does the image contain a {}?", "yes"),
    ("does the image not contain a {}?", "no"),
    ("is a {} present?", "yes"),
    ("is no {} present?", "no"),
    ("is there a {}?", "yes"),
    ("is there a {} in the image?", "yes"),
    ("is there not a {}?", "no"),
    ("is there not a {} in the image?", "no"),
]
OPPOSITE = {"yes": "no", "no": "yes"}


@pytest.mark.parametrize(("question", "answer", "shape", "colour"), TEMPLATES)
def test_what_questions(question, answer, shape, colour):
    assert derive_facts([(question, answer)], "a") == Facts(shape, colour)


@pytest.mark.parametrize(("form", "affirming"), WHETHER)
def test_yes_no_questions(form, affirming):
    assert derive_facts([(form.format("circle"), affirming)], "a") == Facts("circle", None)
    assert derive_facts([(form.format("red shape"), affirming)], "a") == Facts(None, "red")
    assert derive_facts([(form.format("circle"), OPPOSITE[affirming])], "a") == Facts(None, None)
    assert derive_facts([(form.format("red shape"), OPPOSITE[affirming])], "a") == Facts(None, None)


def test_every_question_of_the_package_is_understood():
    data = sources.find_package().data
    for split in sources.SPLITS:
        for question, _, _ in json.loads((data / split / "questions.json").read_bytes()):
            patterns = (*easy_vqa._WHAT, easy_vqa._WHETHER)
            assert sum(pattern.fullmatch(question) is not None for pattern in patterns) == 1, question


def test_unknown_questions_say_nothing():
    assert derive_facts([("is the circle red?", "yes"), ("where is the circle?", "left")], "a") == Facts(None, None)


@pytest.mark.parametrize(
    "questions",
    [
        [("what shape is present?", "circle"), ("is there a triangle?", "yes")],
        [("what color is the shape?", "red"), ("is there not a blue shape?", "no")],
        [("what shape is present?", "circle"), ("is there a circle?", "no")],
        [("what is the red shape?", "circle"), ("is no red shape present?", "yes")],
    ],
)
def test_contradictions(questions):
    with pytest.raises(RecordError, match="contradict"):
        derive_facts(questions, "a")


@pytest.mark.parametrize(
    ("edges", "box"),
    [((8, 16, 32, 48), (12, 25, 50, 75)), ((0, 0, 1, 1), (0, 0, 1, 1)), ((60, 3, 64, 64), (93, 4, 100, 100))],
)
def test_box_is_the_hull_of_the_pixels_with_exclusive_edges(edges, box):
    x1, y1, x2, y2 = edges
    image = Image.new("RGB", (64, 64), (250, 240, 230))
    ImageDraw.Draw(image).rectangle((x1, y1, x2 - 1, y2 - 1), fill=(250, 240, 231))
    assert pixel_box(image) == box


def test_no_shape_no_box():
    assert pixel_box(Image.new("RGB", (64, 64))) is None


def samples_of(folder, val_images=8):
    return [c.sample for c in read_candidates(folder, val_images) if c.sample]


def test_splits_are_disjoint_and_ordered(small_download):
    candidates = list(read_candidates(small_download, 8))
    keys = {split: [c.sample.key for c in candidates if c.split == split] for split in ("train", "val", "test")}
    assert keys["train"] == [f"train-{number:06d}" for number in range(32)]
    assert keys["val"] == [f"train-{number:06d}" for number in range(32, 40)]
    assert keys["test"] == [f"test-{number:06d}" for number in range(10)]
    assert not any(c.rejected for c in candidates)


def test_every_question_becomes_a_record_and_tasks_agree(small_download, small_files):
    samples = samples_of(small_download)
    records = [record for sample in samples for record in sample.record.records]
    asked = sum(len(json.loads(small_files[f"{split}/questions.json"])) for split in sources.SPLITS)
    assert sum(record.task == "vqa" for record in records) == asked
    assert len({record.id for record in records}) == len(records)
    full = next(s for s in samples if len({r.task for r in s.record.records}) == 6)
    turn = {record.task: record.turns[0] for record in full.record.records}
    phrase, where = turn["refer"].question, turn["refer"].answer
    assert turn["caption"].answer == f"a {phrase}"
    assert turn["grounding"].answer == f"a <p>{phrase}</p> {where}"
    assert (turn["identify"].question, turn["identify"].answer) == (where, phrase)
    assert (turn["detection"].question, turn["detection"].answer) == (phrase, f"<p>{phrase}</p> {where}")


def test_without_both_facts_there_are_questions_only(small_download):
    for sample in samples_of(small_download):
        questions = [(r.turns[0].question, r.turns[0].answer) for r in sample.record.records if r.task == "vqa"]
        tasks = {record.task for record in sample.record.records}
        assert tasks == ({"vqa"} if derive_facts(questions, "a").phrase is None else set(TASKS))


@pytest.mark.parametrize("val_images", [40, 41])
def test_held_out_slice_leaves_something(small_download, val_images):
    with pytest.raises(DataError, match=r"shards\.val_images is 4[01], but there are 40"):
        list(read_candidates(small_download, val_images))


def test_image_numbers_are_ordered_as_numbers(small_files, tmp_path):
    files = dict(small_files)
    files["train/images/12345.png"] = files["train/images/0.png"]
    files["train/questions.json"] = json.dumps([["what shape is present?", "circle", 12345]]).encode()
    sources.write_download(tmp_path, sources.find_package(), files, "0" * 64)
    assert next(c for c in read_candidates(tmp_path, 1) if c.split == "val").sample.key == "train-012345"
