"""Pictures: right size, not empty, the same bytes each time."""

from pathlib import Path

import easy_vqa
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from tinygptv.evaluation.diagram import pipeline_picture
from tinygptv.evaluation.metrics import benchmark
from tinygptv.evaluation.report import AnswerItem, answer_grid, loss_curves, stage_progress

STAGES = ("stage1", "stage2", "stage3", "stage4")


def item(number: int, **changes) -> AnswerItem:
    image = Path(easy_vqa.get_test_image_paths()[number]).read_bytes()
    content = {
        "task": "refer",
        "question": "red triangle",
        "answer": "{<5><60><30><90>}",
        "truth": "{<3><66><25><84>}",
        "right": True,
    }
    return AnswerItem(image=image, **{**content, **changes})


ITEMS = [
    item(0),
    item(1, task="vqa", question="what color is the shape?", answer="$x$ \n" + "M" * 200, truth="red", right=False),
    item(2, answer="no box", right=False),
    item(3, task="caption", question="", answer="", truth="a red circle", right=False),
    item(4),
]
HISTORIES = {s: [{"step": n, "loss": 3 / (n + 1), "lr": 1e-3, "grad_norm": 1.0} for n in range(50)] for s in STAGES}
ENTRY = benchmark("exact match", [True, False, True], blind=0.4)
DRAWINGS = {
    "loss": (lambda path: loss_curves(HISTORIES, path), (1200, 348)),
    "unfinished": (lambda path: loss_curves({"stage1": HISTORIES["stage1"][:1]}, path), (1200, 348)),
    "nothing trained": (lambda path: loss_curves(dict.fromkeys(STAGES, ()), path), (1200, 348)),
    "grid": (lambda path: answer_grid(ITEMS, path), None),
    "progress": (lambda path: stage_progress({s: {"easy_vqa": ENTRY} for s in STAGES}, path), (840, 432)),
    "pipeline": (pipeline_picture, (1200, 648)),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_pictures_are_sized_filled_and_reproducible(name, tmp_path):
    draw, size = DRAWINGS[name]
    draw(tmp_path / "a.png")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30}):  # a user's matplotlibrc
        draw(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = Image.open(tmp_path / "a.png")
    assert not set(picture.info) - {"dpi"}
    assert size is None or picture.size == size
    assert np.asarray(picture.convert("L")).std() > 5


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


def test_right_and_wrong_look_different(tmp_path):
    answer_grid([item(0)], tmp_path / "right.png")
    answer_grid([item(0, right=False)], tmp_path / "wrong.png")
    assert (tmp_path / "right.png").read_bytes() != (tmp_path / "wrong.png").read_bytes()


def test_the_committed_pipeline_picture_has_every_step():
    from tinygptv.evaluation.diagram import BOXES
    from tinygptv.ground.names import STEPS

    assert [name for row in BOXES for name, _ in row] == list(STEPS)
