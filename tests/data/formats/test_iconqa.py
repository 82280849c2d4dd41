"""IconQA's problems: all in one file, and which are of a part in another."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tinygptv.data.formats.iconqa import annotations
from tinygptv.ground.errors import DataError

TEXT = {"question": "Which is longer?", "choices": ["tape", "line"], "answer": 1, "ques_type": "choose_txt"}
BLANK = {"question": "Count the dots.", "answer": "7", "ques_type": "fill_in_blank"}
PICTURES = {**TEXT, "choices": ["choice_0.png", "choice_1.png"], "ques_type": "choose_img"}
SPLITS = {"choose_txt_test": ["3", 5], "fill_in_blank_test": ["4"], "choose_img_test": ["6"], "choose_txt_val": ["9"]}


@pytest.fixture
def files(tmp_path):
    problems = {"9": TEXT, "3": TEXT, "4": BLANK, "5": {**TEXT, "answer": "0"}, "6": PICTURES}
    return [write_json(tmp_path / "problems.json", problems), write_json(tmp_path / "pid_splits.json", SPLITS)]


def test_texts_to_choose_from(files):
    first, second = annotations(files, "")
    assert (first.id, second.id) == ("3", "5")
    assert first.truth == {"answer": "line", "choices": ["tape", "line"], "right": [1]}
    assert second.answer == "tape"


def test_the_other_sub_tasks(files):
    (blank,), (pictures,) = annotations(files, "fill_in_blank_test"), annotations(files, "choose_img_test")
    assert blank.truth == {"answer": "7"}
    assert pictures.truth["right"] == [1]


@pytest.mark.parametrize("folder", ["iconqa/test/choose_txt", "test/choose_txt", "choose_txt", "."])
def test_images_in_their_folders(tmp_path, files, folder):
    draw(tmp_path / "images" / folder / "3" / "image.png")
    (found,), (rejection,) = read_set(tmp_path, "iconqa", ("problems.json", "pid_splits.json"), part="choose_txt_test")
    assert found.record.annotation["choices"] == ["tape", "line"]
    assert rejection["id"] == "5"


def test_pictures_to_choose_from_cannot_be_asked(tmp_path, files):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="choose_img has several images"):
        read_set(tmp_path, "iconqa", ("problems.json", "pid_splits.json"), part="choose_img_val")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": 2}, "`answer` must be the number of a choice, 0 to 1, not '2'"),
        ({"answer": "line"}, "`answer` must be the number of a choice"),
        ({"choices": []}, "`choices` must be a list of texts"),
        ({"choices": [1, 2]}, "`choices` must be a list of texts"),
        ({"ques_type": "choose_img"}, "is of the sub-task choose_img, not choose_txt"),
    ],
)
def test_a_broken_problem_is_named(tmp_path, files, change, words):
    write_json(files[0], {"3": TEXT, "5": {**TEXT, **change}})
    with pytest.raises(DataError, match=words) as caught:
        list(annotations(files, ""))
    assert "problems.json, 5" in str(caught.value)


def test_what_is_missing_is_counted(files):
    write_json(files[0], {"3": TEXT})
    with pytest.raises(DataError, match=r"lacks 1 of the 2 problems that pid_splits\.json has in choose_txt_test"):
        list(annotations(files, ""))
    with pytest.raises(DataError, match="has no fill_in_blank_val"):
        list(annotations(files, "fill_in_blank_val"))
    with pytest.raises(DataError, match=r"one file pid_splits\.json, and here are 0"):
        list(annotations(files[:1], ""))
    with pytest.raises(DataError, match="there is no part test"):
        list(annotations(files, "test"))
