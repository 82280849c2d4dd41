"""Pictures of answers: images with question, answer and truth."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.boxes import parse_box
from tinygptv.data.images import read_image
from tinygptv.evaluation.drawing import BLUE, INK, ORANGE, QUIET, VERMILLION, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID_COLUMNS = 4
IMAGE_HEIGHT, LINE_HEIGHT = 2.5, 0.16  # inches
TEXT_COLUMNS = 33
"""Characters of a line below a grid image, in a monospaced font, so that the width is known."""
TEXT_LINES = 3
"""Lines of question, answer or truth; the rest of a longer text is cut with an ellipsis."""


@dataclass(frozen=True, slots=True)
class AnswerItem:
    """One image of the grid."""

    image: bytes
    title: str
    """What it is asked for: a benchmark."""
    task: str
    question: str
    answer: str
    truth: str
    credit: float | None
    """What the answer counts, by itself: 1 is right, 0 is wrong; None: it has no number by itself."""
    certainty: float | None = None
    """The probability that the model gave it, to be shown; None: it is not."""

    @property
    def colour(self) -> str:
        """Of the answer and its verdict."""
        if self.credit is None:
            return INK
        return VERMILLION if self.credit <= 0 else BLUE if self.credit >= 1 else ORANGE

    @property
    def verdict(self) -> str:
        """The last line below it."""
        sure = "" if self.certainty is None else f", {100 * self.certainty:.1f} % sure"
        if self.credit is None:
            return f"no number by itself{sure}"
        words = "right" if self.credit >= 1 else "WRONG" if self.credit <= 0 else f"counts {self.credit:.2f}"
        return words + sure


def answer_grid(items: Sequence[AnswerItem], path: Path) -> None:
    """Images with question, answer and truth; a wrong answer is marked by word and colour.

    For ``refer`` the predicted box is solid and the true one dashed.

    Raises:
        ValueError: there are no items.
    """
    if not items:
        raise ValueError("an answer grid needs at least one item")
    rows = -(-len(items) // GRID_COLUMNS)
    texts = [_lines(item) for item in items]
    text_height = LINE_HEIGHT * (max(len(lines) for lines in texts) + 1)
    height = (IMAGE_HEIGHT + text_height) * rows
    with figure(10, height, path) as drawing:
        # A row is the image above and its text below: two axes, so that neither can run into the other.
        grid = drawing.subplots(
            2 * rows,
            GRID_COLUMNS,
            squeeze=False,
            gridspec_kw={
                "height_ratios": [IMAGE_HEIGHT, text_height] * rows,
                "left": 0.01,
                "right": 0.99,
                "top": 1 - 0.1 / height,
                "bottom": 0.0,
                "wspace": 0.06,
                "hspace": 0.0,
            },
        )
        for axes in grid.flat:
            axes.set_axis_off()
        for index, item in enumerate(items):
            row, column = divmod(index, GRID_COLUMNS)
            _draw_image(grid[2 * row, column], item)
            _draw_text(grid[2 * row + 1, column], texts[index], text_height)


def _draw_image(axes: Axes, item: AnswerItem) -> None:
    picture = read_image(item.image)
    width, height = picture.size
    axes.imshow(picture, interpolation="nearest")
    if item.task != "refer":
        return
    looks: list[tuple[str, dict[str, Any]]] = [
        (item.truth, {"edgecolor": INK, "linestyle": (0, (4, 3)), "linewidth": 2.2}),
        (item.answer.strip(), {"edgecolor": item.colour, "linewidth": 1.6}),
    ]
    for text, look in looks:
        box = parse_box(text)
        if box is not None:
            _draw_box(axes, box, width, height, look)


def _draw_box(axes: Axes, box: tuple[int, int, int, int], width: int, height: int, look: dict[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    x1, x2 = (x * width / 100 - 0.5 for x in box[::2])  # imshow puts pixel 0 at -0.5..0.5
    y1, y2 = (y * height / 100 - 0.5 for y in box[1::2])
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **look))


def _lines(item: AnswerItem) -> list[tuple[str, str]]:
    """The lines below an image, with their colours; the last one is the verdict."""
    colour = item.colour
    lines = [(line, QUIET) for line in _wrap(item.title)]
    lines += [(line, INK) for line in _wrap(f"[{item.task}] {item.question}")]
    lines += [(line, colour) for line in _wrap(f"answer: {item.answer.strip() or '(empty)'}")]
    lines += [(line, QUIET) for line in _wrap(f"truth:  {item.truth}")]
    return [*lines, (item.verdict, colour)]


def _draw_text(axes: Axes, lines: Sequence[tuple[str, str]], height: float) -> None:
    for number, (line, shade) in enumerate(lines):
        axes.text(
            0.0,
            1.0 - (number + 0.25) * LINE_HEIGHT / height,
            line,
            transform=axes.transAxes,
            va="top",
            color=shade,
            fontfamily="DejaVu Sans Mono",
            fontsize=8,
            fontweight="bold" if number == len(lines) - 1 else "normal",
            parse_math=False,  # a "$" of an answer is a dollar sign
        )


def _wrap(text: str) -> list[str]:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return textwrap.wrap(printable, TEXT_COLUMNS, max_lines=TEXT_LINES, placeholder=" …", subsequent_indent="  ")
