"""Pictures of answers: every kind of answer, the same bytes each time, and as high as its rows."""

from pathlib import Path

import easy_vqa
import numpy as np
import pytest
from PIL import Image

from tinygptv.evaluation.answer_pictures import AnswerItem, answer_grid


def item(number: int, **changes) -> AnswerItem:
    image = Path(easy_vqa.get_test_image_paths()[number]).read_bytes()
    content = {
        "title": "boxes",
        "task": "refer",
        "question": "red triangle",
        "answer": "{<5><60><30><90>}",
        "truth": "{<3><66><25><84>}",
        "credit": 1.0,
    }
    return AnswerItem(image=image, **{**content, **changes})


ITEMS = [
    item(0),
    item(1, task="vqa", question="what color is the shape?", answer="$x$ \n" + "M" * 200, truth="red", credit=0.0),
    item(2, answer="no box", credit=0.0, certainty=0.987),
    item(3, task="caption", question="", answer="", truth="a red circle", credit=None),
    item(4, credit=0.3),
]


def test_a_grid_is_filled_and_reproducible(tmp_path):
    for name in ("a.png", "b.png"):
        answer_grid(ITEMS, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 5


def test_a_grid_grows_by_rows_and_needs_an_item(tmp_path):
    heights = []
    for count in (1, 4, 5):
        answer_grid([item(number) for number in range(count)], tmp_path / "grid.png")
        width, height = Image.open(tmp_path / "grid.png").size
        assert width == 1200
        heights.append(height)
    assert heights[0] == heights[1]
    assert abs(heights[2] - 2 * heights[0]) <= 1
    with pytest.raises(ValueError, match="at least one"):
        answer_grid([], tmp_path / "none.png")


def test_verdicts():
    said = [item(0, credit=credit).verdict for credit in (1.0, 0.3, 0.0, None)]
    assert said == ["right", "counts 0.30", "WRONG", "no number by itself"]
    assert item(0, credit=0.0, certainty=0.987).verdict == "WRONG, 98.7 % sure"
    assert len({item(0, credit=credit).colour for credit in (1.0, 0.3, 0.0, None)}) == 4


def test_right_and_wrong_look_different(tmp_path):
    answer_grid([item(0)], tmp_path / "right.png")
    answer_grid([item(0, credit=0.0)], tmp_path / "wrong.png")
    assert (tmp_path / "right.png").read_bytes() != (tmp_path / "wrong.png").read_bytes()
