"""The picture of a batch: what carries loss stands out, and no text or size breaks it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygptv.evaluation.drawing import BLUE, DPI, VERMILLION
from tinygptv.provenance import batch_picture
from tinygptv.provenance.batch_picture import CAPTION, CARD_GAP, LINE, LINES, draw
from tinygptv.provenance.batch_view import END, IMAGE, TEXT, ImageMember, Row, Token

IMAGES = {"wide": Image.new("RGB", (90, 30), "#123456"), "high": Image.new("RGB", (30, 90), "#123456")}


def make_row(answer: list[str], *, question: list[str] | None = None, padding: int = 0, key: str = "wide") -> Row:
    tokens = [Token(9, "<image>", IMAGE, False)] * 4
    tokens += [Token(1, text, TEXT, False) for text in (question or ["what", " is", " it", "?"])]
    tokens += [Token(2, text, TEXT, True) for text in answer]
    tokens += [Token(3, "###", END, True)] if answer else []
    return Row(f"{key}-1", "vqa", ImageMember(key, "train.tar", f"{key}.png", 90, 30, "0"), tuple(tokens), padding)


def picture(path: Path, *micro_batches: list[Row], headline: tuple[str, ...] = ("a batch",)) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a character that the font lacks
        draw(micro_batches, headline, IMAGES, path)
    return np.asarray(Image.open(path).convert("RGB"))


def area(pixels: np.ndarray, colour: str) -> int:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((pixels == wanted).all(axis=-1).sum())


def test_each_token_with_loss_is_set_off(tmp_path):
    none = picture(tmp_path / "none.png", [make_row([])])
    one = picture(tmp_path / "one.png", [make_row(["circle"])])
    two = picture(tmp_path / "two.png", [make_row(["circle", "circle"])])
    legend, first, second = (area(pixels, BLUE) for pixels in (none, one, two))
    assert first > legend
    assert second - legend == pytest.approx(2 * (first - legend), rel=0.1)
    assert area(one, VERMILLION) > area(none, VERMILLION)
    assert area(two, VERMILLION) == pytest.approx(area(one, VERMILLION), rel=0.02)


def test_padding_and_images_are_drawn(tmp_path):
    without = picture(tmp_path / "without.png", [make_row(["yes"]), make_row(["yes"], key="high")])
    padded = picture(tmp_path / "padded.png", [make_row(["yes"], padding=30), make_row(["yes"], key="high")])
    assert (without != padded).any()
    assert area(without, "#123456") > 2 * 90 * 25


def test_a_text_without_an_image_leaves_its_place_empty(tmp_path):
    row = make_row(["yes"])
    pixels = picture(tmp_path / "without.png", [replace(row, image=None)])
    assert area(pixels, "#123456") == 0 < area(picture(tmp_path / "with.png", [row]), "#123456")


def test_micro_batches_lie_below_one_another(tmp_path):
    together = picture(tmp_path / "together.png", [make_row(["yes"]), make_row(["no"])])
    apart = picture(tmp_path / "apart.png", [make_row(["yes"])], [make_row(["no"])])
    assert apart.shape[0] > together.shape[0] + 50
    assert apart.shape[1] == together.shape[1]


@pytest.mark.parametrize(
    "texts",
    [
        ["$x$ \\frac"],
        ["日本語", "\u0301"],
        ["\x00\x1b[31m", "\u202e", "\ufffd"],
        [""],
        [" "],
        ["\n", "\t"],
        ["w" * 500],
    ],
    ids=["maths", "other scripts", "controls", "empty", "blank", "white", "long"],
)
def test_any_text_can_be_drawn(tmp_path, texts):
    plain = picture(tmp_path / "plain.png", [make_row([])])
    pixels = picture(tmp_path / "drawn.png", [make_row(texts, question=texts)], headline=("a batch", "".join(texts)))
    assert area(pixels, BLUE) > area(plain, BLUE)


def test_a_long_sample_is_cut(tmp_path):
    short = picture(tmp_path / "short.png", [make_row(["yes"])])
    long = picture(tmp_path / "long.png", [make_row(["word"] * 400)])
    longer = picture(tmp_path / "longer.png", [make_row(["word"] * 4000)])
    assert short.shape[0] + DPI * LINE * (LINES - 8) < long.shape[0] == longer.shape[0]


def test_a_picture_ends_somewhere(tmp_path, monkeypatch):
    """PNG and the canvas have their limits; the JSON has all samples."""
    largest = batch_picture.SAMPLES * (0.45 + 2 * CAPTION + LINES * LINE + CARD_GAP) * DPI
    assert largest < 2**16 - 1000
    monkeypatch.setattr(batch_picture, "SAMPLES", 4)
    rows = [make_row(["yes"])] * 10
    heights = [
        picture(tmp_path / "drawn.png", *parts).shape[0] for parts in ([rows[:2]], [rows[:4]], [rows], [rows, rows])
    ]
    assert heights[0] < heights[1] == heights[2] == heights[3]


def test_a_long_headline_is_cut(tmp_path):
    few = picture(tmp_path / "few.png", [make_row(["yes"])], headline=tuple(f"{i} {'x' * 400}" for i in range(9)))
    many = picture(tmp_path / "many.png", [make_row(["yes"])], headline=tuple(f"{i} {'x' * 400}" for i in range(40)))
    assert few.shape == many.shape
