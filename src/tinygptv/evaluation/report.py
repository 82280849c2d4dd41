"""Pictures of the reports: loss curves, and what each stage brought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.drawing import BLUE, GREEN, ORANGE, PURPLE, QUIET, VERMILLION, figure
from tinygptv.ground.names import START

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STAGE_TITLES = {
    "stage1": "Stage 1: warm-up",
    "stage2": "Stage 2: pre-training",
    "stage3": "Stage 3: instructions",
    "stage4": "Stage 4: multi-task",
}
TICKS = {START: "Start:\nuntrained"} | {stage: title.replace(": ", ":\n") for stage, title in STAGE_TITLES.items()}
LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (VERMILLION, "D"), (PURPLE, "v"))
"""Colour and mark of a benchmark in one plot of all; where they are more, each has a plot of its own."""
COLUMNS, PANEL = 4, (2.6, 2.0)
"""Small plots in a row, and the size of one in inches."""


def loss_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Loss over steps, one small plot a stage, on one common scale.

    Args:
        histories: stage → points with ``step`` and ``loss``; where held-out records were looked at also
            ``validation_loss``, ``validation_score``, at one of these looks ``best``, and at the first point what
            the look before training found, ``start_loss``, ``start_score``. Without points its plot says why it is
            empty.
        path: the PNG to write.
    """
    looked = any("validation_loss" in point for points in histories.values() for point in points)
    with figure(10, 3.7 if looked else 2.9, path) as drawing:
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
            course = f"{losses[0]:.3g} → {losses[-1]:.3g}"
            (line,) = axes.plot(steps, losses, color=BLUE, linewidth=1.2, marker="." if len(points) == 1 else "")
            line.set_label(f"training: {course}")
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.locator_params(axis="x", nbins=4)
            if any("validation_loss" in point for point in points):
                _held_out_curves(axes, points)
                continue
            axes.annotate(
                course,
                (0.97, 0.95),
                xycoords="axes fraction",
                ha="right",
                va="top",
                color=QUIET,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )
        axes_row[0].set_ylabel("loss (nats per answer token)")
        drawing.tight_layout()


def _held_out_curves(axes: Axes, points: Sequence[Mapping[str, float]]) -> None:
    """The loss on held-out records beside that of the training, their score, and the look whose weights stay."""
    looks = [point for point in points if "validation_loss" in point]
    begun = {"step": 0.0, "validation_loss": points[0]["start_loss"]}
    if "start_score" in points[0]:
        begun["validation_score"] = points[0]["start_score"]
    looks = [begun, *looks]
    steps, losses = [point["step"] for point in looks], [point["validation_loss"] for point in looks]
    axes.plot(steps, losses, color=ORANGE, linewidth=1.2, marker=".", markersize=3, label="held out")
    best = next((point for point in looks if point.get("best")), begun)
    lines, kept = axes.get_lines(), f"kept: loss {best['validation_loss']:.3g}"
    if "validation_score" in best:
        right, scores = axes.twinx(), [point["validation_score"] for point in looks]
        right.plot(steps, scores, color=GREEN, linewidth=1.2, linestyle="--", label="held-out score (right)")
        right.set_ylim(0, max(1.0, *scores) * 1.05)
        right.tick_params(axis="y", colors=GREEN)
        right.grid(visible=False)
        lines, kept = [*lines, *right.get_lines()], f"{kept}, score {best['validation_score']:.3g}"
    axes.plot([best["step"]], [best["validation_loss"]], color=VERMILLION, marker="*", markersize=9, linestyle="")
    star = axes.get_lines()[-1]
    star.set_label(kept)
    axes.legend(
        handles=[*lines, star], loc="upper center", bbox_to_anchor=(0.5, -0.24), fontsize=8, handlelength=1.5, ncols=1
    )


def empty_picture(text: str, path: Path) -> None:
    """A picture of nothing, which says why: DVC misses a picture that is not there."""
    with figure(4, 1, path) as drawing:
        drawing.text(0.5, 0.5, text, ha="center", va="center", color=QUIET)


def stage_progress(held_out: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], path: Path) -> None:
    """Numbers on the held-out slice after each stage, with 95 % intervals and, dotted, what needs no image.

    Args:
        held_out: ``start`` or a stage → name of a benchmark → its entry.
        labels: name of a benchmark → what the picture calls it, in the order of the picture.
        path: the PNG to write.
    """
    series = {name: _points(held_out, name) for name in labels}
    series = {name: points for name, points in series.items() if points}
    if not series:
        empty_picture("no question in the held-out slice", path)
        return
    if len(series) > len(LOOKS):
        _small_plots(series, labels, path)
        return
    with figure(7, 3.6, path) as drawing:
        axes = drawing.subplots()
        for number, (name, points) in enumerate(series.items()):
            colour, marker = LOOKS[number]
            _draw(axes, points, colour, marker, labels[name], shift=(number - (len(series) - 1) / 2) * 0.06)
        axes.set_xticks(range(len(TICKS)), list(TICKS.values()))
        axes.set_ylabel("number of the benchmark")
        _scale(axes, series.values())
        axes.set_title("Held-out images after each stage (dotted: without the image)")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        drawing.tight_layout()


def _small_plots(series: Mapping[str, list[tuple[int, Any]]], labels: Mapping[str, str], path: Path) -> None:
    """A plot of each benchmark, on one scale as long as none has a number above 1."""
    rows = -(-len(series) // COLUMNS)
    with figure(PANEL[0] * COLUMNS, PANEL[1] * rows + 0.4, path) as drawing:
        grid = drawing.subplots(rows, COLUMNS, squeeze=False)
        for axes in grid.flat[len(series) :]:
            axes.set_axis_off()
        for axes, (name, points) in zip(grid.flat[: len(series)], series.items(), strict=True):
            _draw(axes, points, BLUE, "o", labels[name], shift=0.0)
            _scale(axes, [points])
            axes.set_title(f"{labels[name]}\n{points[-1][1]['metric']}", fontsize=8)
            axes.set_xticks(range(len(TICKS)), ["start", *(stage.removeprefix("stage") for stage in STAGE_TITLES)])
        drawing.suptitle(
            "Held-out images at the start and after each stage (dotted: without the image)", x=0.01, ha="left"
        )
        drawing.tight_layout()


def _points(held_out: Mapping[str, Mapping[str, Any]], name: str) -> list[tuple[int, Any]]:
    """The entries of a benchmark that have a number, with their places from left to right."""
    found = [(x, held_out.get(stage, {}).get(name)) for x, stage in enumerate(TICKS)]
    return [(x, entry) for x, entry in found if entry is not None and entry["value"] is not None]


def _draw(axes: Axes, points: Sequence[tuple[int, Any]], colour: str, marker: str, label: str, shift: float) -> None:
    entries = [entry for _, entry in points]
    values = [entry["value"] for entry in entries]
    ends = [entry["ci95"] or [entry["value"]] * 2 for entry in entries]
    below = [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)]
    places = [x + shift for x, _ in points]
    axes.errorbar(places, values, yerr=[below, above], color=colour, marker=marker, capsize=3, label=label)
    baselines = (entries[-1][key] for key in ("blind", "trivial", "majority", "chance"))
    baseline = next((value for value in baselines if value is not None), None)
    if baseline is not None:
        axes.axhline(baseline, color=colour, linestyle=":", linewidth=1)
    axes.set_xlim(-0.3, len(TICKS) - 0.7)


def _scale(axes: Axes, series: Iterable[Sequence[tuple[int, Any]]]) -> None:
    """From 0 to 1, or as far as a number goes that may be more."""
    ends = (end for points in series for _, entry in points for end in (entry["value"], *(entry["ci95"] or ())))
    highest = max([1.0, *ends])
    axes.set_ylim(-0.03 * highest, 1.05 * highest)
