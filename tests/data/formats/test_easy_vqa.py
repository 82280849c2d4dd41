"""Facts from questions, boxes from pixels, splits from numbers."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageDraw

from tests.checkouts import TEST_IMAGES, TRAIN_IMAGES, new_root, raw_source
from tinygptv.data.formats import easy_vqa
from tinygptv.data.formats.easy_vqa import Facts, derive_facts, pixel_box, read
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
    data = easy_vqa.folder()
    for split in ("train", "test"):
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


@pytest.fixture
def root(tmp_path):
    return new_root(tmp_path / "checkout")


def records_of(root):
    return list(read(raw_source(root)))


def by_image(found):
    images = {}
    for item in found:
        images.setdefault(item.image.path, []).append(item.record)
    return images


def test_training_images_are_left_to_the_profile_to_split(root):
    splits = {item.image.path: item.split for item in records_of(root)}
    assert [splits[path] for path in sorted(splits) if "train" in path.parts] == [""] * TRAIN_IMAGES
    assert [splits[path] for path in sorted(splits) if "test" in path.parts] == ["test"] * TEST_IMAGES


def test_every_question_becomes_a_record_and_tasks_agree(root, small_files):
    found = records_of(root)
    records = [item.record for item in found]
    asked = sum(len(json.loads(small_files[f"{split}/questions.json"])) for split in ("train", "test"))
    assert sum(record.task == "vqa" for record in records) == asked
    assert len({record.id for record in records}) == len(records)
    full = next(of for of in by_image(found).values() if len({r.task for r in of}) == 6)
    turn = {record.task: record.turns[0] for record in full}
    phrase, where = turn["refer"].question, turn["refer"].answer
    assert turn["caption"].answer == f"a {phrase}"
    assert turn["grounding"].answer == f"a <p>{phrase}</p> {where}"
    assert (turn["identify"].question, turn["identify"].answer) == (where, phrase)
    assert (turn["detection"].question, turn["detection"].answer) == (phrase, f"<p>{phrase}</p> {where}")


def test_without_both_facts_there_are_questions_only(root):
    for records in by_image(records_of(root)).values():
        questions = [(r.turns[0].question, r.turns[0].answer) for r in records if r.task == "vqa"]
        every = set(TASKS) - {"conversation"}
        assert {r.task for r in records} == ({"vqa"} if derive_facts(questions, "a").phrase is None else every)


def test_images_come_in_the_order_of_their_numbers(root):
    numbers = [int(path.stem) for path in by_image(records_of(root)) if "train" in path.parts]
    assert numbers == list(range(TRAIN_IMAGES))


def broken(root, name, content):
    (root / "raw" / name).write_bytes(content)
    return [item for item in records_of(root) if isinstance(item, dict)]


def test_questions_that_are_none_and_images_that_are_none_are_rejected_with_their_place(root):
    asked = json.dumps([["what shape is present?", "circle", 0], ["what?", 3], ["is there?", "yes", 77]]).encode()
    assert broken(root, "train/questions.json", asked) == [
        {"id": "train-entry-1", "reason": "is not [question, answer, image number]"},
        {"id": "train-entry-2", "reason": "image 77 does not exist"},
    ]


def test_a_damaged_image_takes_all_its_records_with_it(root, small_files):
    asked = sum(q[2] == 0 for q in json.loads(small_files["train/questions.json"]))
    rejected = broken(root, "train/images/0.png", b"no picture")
    assert [item["id"] for item in rejected] == [f"train-000000-vqa-{i}" for i in range(asked)]


@pytest.mark.parametrize(("name", "said"), [("train/images/x.png", "number"), ("train/images/7.jpg", "number")])
def test_a_package_with_odd_files_is_refused(root, name, said):
    with pytest.raises(DataError, match=said):
        broken(root, name, b"")
