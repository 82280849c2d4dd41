"""Pictures: right size, not empty, the same bytes each time."""

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from tinygptv.evaluation.diagram import pipeline_picture
from tinygptv.evaluation.report import loss_curves, stage_progress

STAGES = ("stage1", "stage2", "stage3", "stage4")


HISTORIES = {s: [{"step": n, "loss": 3 / (n + 1), "lr": 1e-3, "grad_norm": 1.0} for n in range(50)] for s in STAGES}
ENTRY = {"metric": "exact match", "value": 0.67, "ci95": [0.21, 0.94], "blind": 0.4}
ENTRY |= {"majority": None, "trivial": None, "chance": None}
UNDEFINED = ENTRY | {"value": None, "ci95": None, "blind": None}
CIDER = ENTRY | {"metric": "CIDEr", "value": 1.2, "ci95": None, "blind": None, "trivial": 0.3}


def progress(count: int):
    """A picture of so many benchmarks, one of which has no number after the first stage."""
    entries = {f"set_{number}": CIDER if number == 3 else ENTRY for number in range(count)}
    held_out = {stage: dict(entries) for stage in ("start", *STAGES)}
    held_out["stage1"]["set_0"] = UNDEFINED
    return lambda path: stage_progress(held_out, {name: name for name in entries}, path)


LOOKED = [p | ({"validation_loss": 3 / p["step"]} if p["step"] % 10 == 9 else {}) for p in HISTORIES["stage4"]]
BEST = max(p["step"] for p in LOOKED if "validation_loss" in p)
LOOKED[0]["start_loss"] = 3.0
LOOKS = {"stage4": [p | ({"best": True} if p["step"] == BEST else {}) for p in LOOKED]}
SCORES = {
    "stage4": [p | ({"validation_score": 0.5} if "validation_loss" in p else {}) for p in LOOKED]
}  # its start stays
SCORES["stage4"][0]["start_score"] = 0.6
DRAWINGS = {
    "loss": (lambda path: loss_curves(HISTORIES, path), (1200, 348)),
    "held out": (lambda path: loss_curves(LOOKS, path), (1200, 444)),
    "scored": (lambda path: loss_curves(SCORES, path), (1200, 444)),
    "unfinished": (lambda path: loss_curves({"stage1": HISTORIES["stage1"][:1]}, path), (1200, 348)),
    "nothing trained": (lambda path: loss_curves(dict.fromkeys(STAGES, ()), path), (1200, 348)),
    "progress": (progress(1), (840, 432)),
    "five": (progress(5), (840, 432)),
    "many": (progress(14), (1248, 1008)),
    "none": (lambda path: stage_progress({}, {}, path), (480, 120)),
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


def test_the_loss_on_held_out_records_is_drawn_beside_that_of_the_training(tmp_path):
    loss_curves(LOOKS, tmp_path / "looks.png")
    loss_curves({"stage4": HISTORIES["stage4"]}, tmp_path / "none.png")
    orange = [
        int(
            (
                np.abs(np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int) - (230, 159, 0)).sum(2) < 30
            ).sum()
        )
        for name in ("looks.png", "none.png")
    ]
    assert orange[0] > 100 and orange[1] == 0


def test_six_benchmarks_have_a_plot_each(tmp_path):
    progress(5)(tmp_path / "five.png")
    progress(6)(tmp_path / "six.png")
    assert Image.open(tmp_path / "five.png").size != Image.open(tmp_path / "six.png").size


def test_the_committed_pipeline_picture_has_every_step():
    from tinygptv.evaluation.diagram import BOXES
    from tinygptv.ground.names import STEPS

    assert [name for row in BOXES for name, _ in row] == list(STEPS)
