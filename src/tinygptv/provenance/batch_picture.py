"""The picture of a batch: each sample with its image and its tokens, those that carry loss set off.

One set of axes covers the figure, in inches from the top left corner, so that every box is placed by plain sums.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tinygptv.evaluation.drawing import BLUE, FAINT, INK, QUIET, VERMILLION, figure
from tinygptv.provenance.batch_view import CUT, END, IMAGE, Row, Token

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

TokenLook = Literal["plain", "loss", "end", "image", "padding", "cut"]
Chip = tuple[str, TokenLook]
"""A text in a box of its own."""
TIMES = "\N{MULTIPLICATION SIGN}"

FILLS = {
    "plain": "#F0F0F0",
    "loss": BLUE,
    "end": VERMILLION,
    "image": "#CFEBE2",
    "padding": "#FFFFFF",
    "cut": "#FFFFFF",
}
INKS = {"plain": INK, "loss": "#FFFFFF", "end": "#FFFFFF", "image": "#00664A", "padding": QUIET, "cut": QUIET}
BOLD = frozenset({"loss", "end"})
LEGEND: tuple[Chip, ...] = (
    ("carries loss", "loss"),
    ("end mark, carries loss", "end"),
    ("no loss", "plain"),
    (f"<image {TIMES}slots>", "image"),
    (f"<pad {TIMES}places>", "padding"),
)
LEFT_OUT: Chip = ("left out by the limits", "cut")
"""Stands in the legend where there is such."""

WIDTH, MARGIN, GUTTER, COLUMNS = 11.0, 0.3, 0.35, 2  # inches
TILE = (WIDTH - 2 * MARGIN - GUTTER * (COLUMNS - 1)) / COLUMNS
THUMBNAIL, BESIDE = 1.3, 0.12
FONT_SIZE = 7.0
ADVANCE = FONT_SIZE * 1233 / 2048 / 72
"""Width of a character of DejaVu Sans Mono, in inches."""
BESIDE_WIDTH = TILE - THUMBNAIL - BESIDE
CHARACTERS = int(BESIDE_WIDTH / ADVANCE)
"""Characters of a caption."""
PAD, GAP = 0.35 * ADVANCE, 0.012
"""Room inside a box beside its text, and between two boxes."""
LINE, CHIP, CAPTION, CARD_GAP = 0.165, 0.14, 0.17, 0.16
LINES = 16
"""Lines of a sample; the rest of a longer one is only counted."""
HEADLINES, LONGEST = 7, 150
"""Lines above the batch, and characters of one."""
SAMPLES = 128
"""Samples of a picture; PNG files end at 65,535 pixels."""
MARKS = {"\n": "↵", "\t": "→", "\r": "←"}


def draw(
    micro_batches: Sequence[Sequence[Row]],
    headline: Sequence[str],
    images: Mapping[str, Image],
    path: Path,
    titles: Sequence[str] = (),
) -> None:
    """Draw a batch.

    Args:
        micro_batches: the rows of each.
        headline: lines above, the first one in bold.
        images: image key → decoded image.
        path: the PNG to write.
        titles: above the samples of each, where they are no micro-batches but chosen ones.
    """
    shown = list(_shown(micro_batches))
    headline = [
        *headline[:HEADLINES],
        *([f"… and {rest} more, in the JSON"] if (rest := len(headline) - HEADLINES) > 0 else []),
    ]
    above = 0.3 + 0.2 * len(headline) + 0.45
    bodies = [[(row, _lines(row)) for row in rows] for rows, _ in shown]
    heights = [[max(_height(lines) for _, lines in pair) for pair in _pairs(body)] for body in bodies]
    height = above + sum(0.45 + sum(part) + CARD_GAP * len(part) for part in heights) + 0.1
    with figure(WIDTH, height, path) as drawing:
        axes = drawing.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        for i, line in enumerate(headline):
            look = {"size": 11, "bold": True} if i == 0 else {"size": 9, "colour": QUIET}
            _write(axes, MARGIN, 0.35 + 0.2 * i, _visible(textwrap.shorten(line, LONGEST, placeholder=" …")), **look)
        x = MARGIN
        cut = any(row.is_cut for rows, _ in shown for row in rows)
        for chip in (*LEGEND, *[LEFT_OUT] * cut):
            _draw_line(axes, x, above - 0.25, [chip])
            x += _width(chip[0]) + 0.1
        y = above
        for number, ((rows, left_out), body, part) in enumerate(zip(shown, bodies, heights, strict=True), start=1):
            title = titles[number - 1] if titles else _title(number, rows)
            y = _draw_micro_batch(axes, y, f"{title}{left_out}", body, part, images)
        # last, because an image sets the limits anew
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(height, 0)
        axes.set_aspect("auto")


def _shown(micro_batches: Sequence[Sequence[Row]]) -> Iterator[tuple[Sequence[Row], str]]:
    """The rows that a picture has room for, with a remark where some are left out."""
    room = SAMPLES
    for rows in micro_batches:
        if room > 0:
            yield rows[:room], f"; {len(rows) - room} more samples in the JSON" if len(rows) > room else ""
        room -= len(rows)


def _pairs(body: Sequence[tuple[Row, list[list[Chip]]]]) -> list[Sequence[tuple[Row, list[list[Chip]]]]]:
    return [body[i : i + COLUMNS] for i in range(0, len(body), COLUMNS)]


def _title(number: int, rows: Sequence[Row]) -> str:
    places = rows[0].length + rows[0].padding
    loss, padding = sum(row.loss_tokens for row in rows), sum(row.padding for row in rows)
    return f"micro-batch {number}: {len(rows)} {TIMES} {places} places: {loss} with loss, {padding} of padding"


def _draw_micro_batch(
    axes: Axes,
    y: float,
    title: str,
    body: Sequence[tuple[Row, list[list[Chip]]]],
    heights: Sequence[float],
    images: Mapping[str, Image],
) -> float:
    """Draw a micro-batch below ``y`` and return where it ends."""
    axes.plot([MARGIN, WIDTH - MARGIN], [y, y], color=FAINT, linewidth=0.8)
    _write(axes, MARGIN, y + 0.2, title, size=9, bold=True)
    y += 0.45
    for pair, height in zip(_pairs(body), heights, strict=True):
        for column, (row, lines) in enumerate(pair):
            image = None if row.image is None else images[row.image.key]
            _draw_sample(axes, MARGIN + column * (TILE + GUTTER), y, row, lines, image)
        y += height + CARD_GAP
    return y


def _draw_sample(
    axes: Axes, x: float, y: float, row: Row, lines: Sequence[Sequence[Chip]], image: Image | None
) -> None:
    if image is not None:
        scale = THUMBNAIL / max(image.size)
        width, height = (side * scale for side in image.size)
        axes.imshow(image, extent=(x, x + width, y + height, y), interpolation="antialiased", aspect="auto")
    x += THUMBNAIL + BESIDE
    _write(axes, x, y + 0.07, _cut(f"{row.record}  [{row.task}]"), bold=True)
    padding = f", {row.padding} of padding" if row.padding else ""
    name = "no image" if row.image is None else f"image {row.image.key}"
    caption = f"{name}; {row.length} tokens, {row.loss_tokens} with loss{padding}"
    _write(axes, x, y + 0.07 + CAPTION, _cut(caption), colour=QUIET)
    for number, line in enumerate(lines):
        _draw_line(axes, x, y + 2 * CAPTION + (number + 0.5) * LINE, line)


def _height(lines: Sequence[object]) -> float:
    return max(THUMBNAIL, 2 * CAPTION + len(lines) * LINE)


def _draw_line(axes: Axes, x: float, y: float, chips: Sequence[Chip]) -> None:
    """Draw boxes side by side; ``y`` is their middle."""
    from matplotlib.patches import Rectangle

    for text, look in chips:
        edge = FAINT if look == "padding" else "none"
        width = _width(text)
        box = Rectangle((x, y - CHIP / 2), width - GAP, CHIP, facecolor=FILLS[look], edgecolor=edge, linewidth=0.6)
        axes.add_patch(box)
        _write(axes, x + PAD, y, text, colour=INKS[look], bold=look in BOLD)
        if look == "cut":
            axes.plot([x, x + width], [y, y], color=VERMILLION, linewidth=0.7, zorder=3)
        x += width


def _write(
    axes: Axes, x: float, y: float, text: str, *, colour: str = INK, bold: bool = False, size: float = FONT_SIZE
) -> None:
    axes.text(
        x,
        y,
        text,
        va="center_baseline",
        color=colour,
        fontsize=size,
        fontweight="bold" if bold else "normal",
        fontfamily="DejaVu Sans Mono" if size == FONT_SIZE else "DejaVu Sans",
        parse_math=False,  # a "$" of an answer is a dollar sign
    )


def _lines(row: Row) -> list[list[Chip]]:
    """A row's tokens, wrapped; a token longer than what is left of a line begins the next one."""
    lines: list[list[Chip]] = [[]]
    used = 0.0
    longest = CHARACTERS - 1
    for text, look in _chips(row):
        for piece in (text[start : start + longest] for start in range(0, len(text), longest)):
            if used + _width(piece) > BESIDE_WIDTH:
                lines.append([])
                used = 0.0
            lines[-1].append((piece, look))
            used += _width(piece)
    if len(lines) > LINES:
        left_out = sum(len(line) for line in lines[LINES - 1 :])
        lines[LINES - 1 :] = [[(f"… {left_out} more boxes", "padding")]]
    return lines


def _chips(row: Row) -> Iterator[Chip]:
    """A box for each token; the image's slots share one, and so does the padding."""
    for is_image, group in groupby(row.tokens, key=lambda token: token.kind == IMAGE):
        tokens = list(group)
        if is_image:
            yield f"<image {TIMES}{len(tokens)}>", "image"
        else:
            yield from ((_visible(token.text) or "·", _look(token)) for token in tokens)
    if row.padding:
        yield f"<pad {TIMES}{row.padding}>", "padding"


def _look(token: Token) -> TokenLook:
    if token.kind in (END, CUT):
        return "end" if token.kind == END else "cut"
    return "loss" if token.loss else "plain"


def _width(text: str) -> float:
    """Inches from the start of a box to that of the next one."""
    return ADVANCE * len(text) + 2 * PAD + GAP


def _cut(text: str) -> str:
    text = _visible(text)
    return text if len(text) <= CHARACTERS else text[: CHARACTERS - 1] + "…"


def _visible(text: str) -> str:
    """The text with a sign for each character that has no picture in the font."""
    return "".join(MARKS.get(c) or (c if c.isprintable() and ord(c) in _drawable() else "□") for c in text)


@cache
def _drawable() -> frozenset[int]:
    """The characters of the font."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans Mono"))).get_charmap())
