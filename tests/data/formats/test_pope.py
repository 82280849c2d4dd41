"""POPE's questions about objects."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_lines
from tinygptv.data.formats.pope import annotations
from tinygptv.ground.errors import DataError

IMAGE = "COCO_val2014_000000310196.jpg"
QUESTION = {"question_id": 1, "image": IMAGE, "text": "Is there a snowboard in the image?", "label": "yes"}


def test_the_official_layout(tmp_path):
    path = tmp_path / "coco_pope_random.json"
    path.write_bytes(write_lines(path, [QUESTION, {**QUESTION, "question_id": 2}]).read_bytes().replace(b"\n", b"\r\n"))
    draw(tmp_path / "images" / IMAGE)
    (first, second), rejected = read_set(tmp_path, "pope", (path.name,), part="random")
    assert (first.record.id, second.record.id, rejected) == ("1", "2", [])
    assert first.record.turns[0].question == QUESTION["text"]
    assert first.record.annotation == {"answer": "yes"}


def test_a_part_is_one_of_the_files(tmp_path):
    for number, part in enumerate(("adversarial", "popular", "random", "ground_truth_objects")):
        write_lines(tmp_path / f"coco_pope_{part}.json", [{**QUESTION, "question_id": number}])
    (found,) = annotations(sorted(tmp_path.iterdir()), "popular")
    assert found.id == "1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": "Yes"}, "`label` must be yes or no, not 'Yes'"),
        ({"label": 1}, "`label` must be text"),
        ({"question_id": 1.5}, "`question_id` must be an id"),
        ({"question_id": 1}, "the id 1 stands twice"),
    ],
)
def test_a_broken_entry_is_named(tmp_path, change, words):
    path = write_lines(tmp_path / "adversarial.json", [QUESTION, {**QUESTION, "question_id": 2, **change}])
    with pytest.raises(DataError, match=f"line 2: {words}"):
        list(annotations([path], ""))
