"""Pictures of the reports: loss curves, a grid of answers, and what each stage brought."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.data.boxes import parse_box
from tinygptv.data.images import read_image
from tinygptv.evaluation.benchmarks.table import LABELS
from tinygptv.evaluation.drawing import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, VERMILLION, figure
from tinygptv.evaluation.metrics import Benchmark
from tinygptv.evaluation.questions import Question
from tinygptv.evaluation.scores import is_right

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinygptv.data.samples import Samples

STAGE_TITLES = {
    "stage1": "Stage 1: warm-up",
    "stage2": "Stage 2: pre-training",
    "stage3": "Stage 3: instructions",
    "stage4": "Stage 4: multi-task",
}
LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (VERMILLION, "D"), (PURPLE, "v"))
"""Colour and mark of a benchmark, in the order of the table; after the last one they begin again."""
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
    task: str
    question: str
    answer: str
    truth: str
    right: bool


def grid_items(questions: Sequence[Question], answers: Sequence[str], samples: Samples, count: int) -> list[AnswerItem]:
    """Test images for the picture: evenly spaced, the benchmarks in turn, wrong answers included as they come."""
    found = {name: [i for i, q in enumerate(questions) if q.benchmark == name] for name in LABELS}
    by_name = [places for places in found.values() if places]
    items = []
    for place in range(count if by_name else 0):
        of_it = by_name[place % len(by_name)]
        i = of_it[place * len(of_it) // count]
        q, answer = questions[i], answers[i]
        image = samples.read(q.dataset, q.key).image_bytes
        items.append(AnswerItem(image, q.task, q.content, answer, q.truth, is_right(q, answer)))
    return items


def loss_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Loss over steps, one small plot a stage, on one common scale.

    Args:
        histories: stage → points with ``step`` and ``loss``; without points its plot says why it is empty.
        path: the PNG to write.
    """
    with figure(10, 2.9, path) as drawing:
        axes_row = drawing.subplots(1, len(STAGE_TITLES), sharey=True)
        for axes, (stage, title) in zip(axes_row, STAGE_TITLES.items(), strict=True):
            points = histories.get(stage, ())
            steps, losses = [point["step"] for point in points], [point["loss"] for point in points]
            axes.set_title(title)
            axes.set_xlabel("step")
            if not points:
                told = "nothing trained" if stage in histories else "not run"
                axes.text(0.5, 0.5, told, transform=axes.transAxes, ha="center", color=QUIET)
                axes.set_xticks([])
                continue
            axes.plot(steps, losses, color=BLUE, linewidth=1.2, marker="." if len(points) == 1 else "")
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.locator_params(axis="x", nbins=4)
            axes.annotate(
                f"{losses[0]:.3g} → {losses[-1]:.3g}",
                (0.97, 0.95),
                xycoords="axes fraction",
                ha="right",
                va="top",
                color=QUIET,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )
        axes_row[0].set_ylabel("loss (nats per answer token)")
        drawing.tight_layout()


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


def empty_picture(text: str, path: Path) -> None:
    """A picture of nothing, which says why: DVC misses a picture that is not there."""
    with figure(4, 1, path) as drawing:
        drawing.text(0.5, 0.5, text, ha="center", va="center", color=QUIET)


def stage_progress(held_out: Mapping[str, Mapping[str, Benchmark]], path: Path) -> None:
    """Accuracy on the held-out slice after each stage, with 95 % intervals and, dotted, what needs no image.

    Args:
        held_out: stage → name of a benchmark → its entry.
        path: the PNG to write.
    """
    with figure(7, 3.6, path) as drawing:
        axes = drawing.subplots()
        for number, (name, label) in enumerate(LABELS.items()):
            colour, marker = LOOKS[number % len(LOOKS)]
            found = [(x, held_out[s][name]) for x, s in enumerate(STAGE_TITLES) if name in held_out.get(s, {})]
            if not found:
                continue
            places = [x + (number - (len(LABELS) - 1) / 2) * 0.06 for x, _ in found]
            values = [entry["value"] for _, entry in found]
            below = [max(0.0, entry["value"] - entry["ci95"][0]) for _, entry in found]
            above = [max(0.0, entry["ci95"][1] - entry["value"]) for _, entry in found]
            axes.errorbar(places, values, yerr=[below, above], color=colour, marker=marker, capsize=3, label=label)
            last = found[-1][1]
            baseline = last["blind"] if last["blind"] is not None else last["trivial"]
            if baseline is not None:
                axes.axhline(baseline, color=colour, linestyle=":", linewidth=1)
        axes.set_xticks(range(len(STAGE_TITLES)), [title.replace(": ", "\n") for title in STAGE_TITLES.values()])
        axes.set_xlim(-0.3, len(STAGE_TITLES) - 0.7)
        axes.set_ylim(-0.03, 1.05)
        axes.set_ylabel("share of right answers")
        axes.set_title("Held-out images after each stage (dotted: without the image)")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        drawing.tight_layout()


def _draw_image(axes: Axes, item: AnswerItem) -> None:
    picture = read_image(item.image)
    width, height = picture.size
    axes.imshow(picture, interpolation="nearest")
    if item.task != "refer":
        return
    looks: list[tuple[str, dict[str, Any]]] = [
        (item.truth, {"edgecolor": INK, "linestyle": (0, (4, 3)), "linewidth": 2.2}),
        (item.answer.strip(), {"edgecolor": BLUE if item.right else VERMILLION, "linewidth": 1.6}),
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
    colour = BLUE if item.right else VERMILLION
    lines = [(line, INK) for line in _wrap(f"[{item.task}] {item.question}")]
    lines += [(line, colour) for line in _wrap(f"answer: {item.answer.strip() or '(empty)'}")]
    lines += [(line, QUIET) for line in _wrap(f"truth:  {item.truth}")]
    return [*lines, ("right" if item.right else "WRONG", colour)]


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
