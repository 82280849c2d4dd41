"""The pipeline as one picture for the README: ``python -m tinygptv.evaluation.diagram docs/pipeline.png``."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.evaluation.drawing import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, VERMILLION, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, GAP = 1.8, 0.72, 0.6
COLUMN = WIDTH + GAP
ROWS = (4.2, 2.8, 1.4)
BOXES = (
    (
        ("download", "checked source"),
        ("shards", "WebDataset"),
        ("backbones", "frozen parts"),
        ("features", "visual tokens"),
    ),
    (("stage1", "warm-up"), ("stage2", "pre-training"), ("stage3", "instructions"), ("stage4", "multi-task")),
    (("evaluate", "full test set"), ("quantize", "LLM.int8()"), ("register", "gate → champion")),
)
"""Steps of each row, with a few words."""
ROW_COLOURS = (QUIET, BLUE, GREEN)
OWNERS = (
    ("Prefect", "when and in what order, retries, alerts", ORANGE),
    ("DVC", "graph, cache, versions of data and weights", VERMILLION),
    ("MLflow", "record of runs, model registry", PURPLE),
)


def pipeline_picture(path: Path) -> None:
    """Draw the steps, what feeds what, and who owns what."""
    total = 4 * WIDTH + 3 * GAP
    with figure(10, 5.4, path) as drawing:
        axes = drawing.add_axes((0.01, 0.01, 0.98, 0.98))
        axes.set_axis_off()
        axes.set_xlim(-0.1, total + 0.1)
        axes.set_ylim(-0.15, 5.55)
        for y, row, colour in zip(ROWS, BOXES, ROW_COLOURS, strict=True):
            for column, (name, words) in enumerate(row):
                _box(axes, (column * COLUMN, y, WIDTH, HEIGHT), name, words, colour)
                if column:
                    left = column * COLUMN - GAP
                    _arrow(axes, [(left, y + HEIGHT / 2), (column * COLUMN, y + HEIGHT / 2)])
        # Features read the images too, past the backbones.
        over = ROWS[0] + HEIGHT + 0.3
        x_from, x_to = COLUMN + WIDTH / 2, 3 * COLUMN + WIDTH / 2
        _arrow(axes, [(x_from, ROWS[0] + HEIGHT), (x_from, over), (x_to, over), (x_to, ROWS[0] + HEIGHT)])
        for upper, lower in pairwise(ROWS):
            middle, x_last, x_first = (upper + lower + HEIGHT) / 2, 3 * COLUMN + WIDTH / 2, WIDTH / 2
            _arrow(axes, [(x_last, upper), (x_last, middle), (x_first, middle), (x_first, lower + HEIGHT)])
        share = (total - 2 * 0.3) / 3
        for number, (name, words, colour) in enumerate(OWNERS):
            _box(axes, (number * (share + 0.3), 0.0, share, 0.85), name, words, colour)


def _box(axes: Axes, place: tuple[float, float, float, float], name: str, words: str, colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y, width, height = place
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", linewidth=1.6)
    shape.set(edgecolor=colour, facecolor="white")
    axes.add_patch(shape)
    middle = x + width / 2
    axes.text(middle, y + height * 0.64, name, ha="center", va="center", fontsize=11, fontweight="bold", color=INK)
    axes.text(middle, y + height * 0.27, words, ha="center", va="center", fontsize=8, color=INK)


def _arrow(axes: Axes, points: list[tuple[float, float]]) -> None:
    axes.plot(*zip(*points, strict=True), color=QUIET, linewidth=1.2, solid_joinstyle="round")
    arrow = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", points[-1], points[-2], arrowprops=arrow)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tinygptv.evaluation.diagram FILE.png")
    pipeline_picture(Path(sys.argv[1]))
