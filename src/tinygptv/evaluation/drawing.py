"""One look for every picture, and files whose bytes depend on nothing but their content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
BLUE, ORANGE, GREEN, VERMILLION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
"""The palette of Okabe and Ito, which readers of every colour vision can tell apart."""
INK, QUIET, FAINT = "#222222", "#666666", "#D9D9D9"

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "svg.hashsalt": "tinygptv",  # ids of an SVG, otherwise drawn by lot
}


@contextmanager
def figure(width: float, height: float, path: Path, description: str | None = None) -> Iterator[Figure]:
    """A figure of so many inches, written to ``path`` as PNG or SVG when the block ends well.

    The user's matplotlibrc has no say, no window system is needed, and the file holds no date or version. Letters of an
    SVG are paths, so that they look the same everywhere; ``description`` is a text that it carries unseen.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", STYLE]):
        drawing = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(drawing)
        yield drawing
        buffer = io.BytesIO()
        form = path.suffix.removeprefix(".")
        unseen = {"Date": None, "Creator": None, "Description": description} if form == "svg" else {"Software": None}
        drawing.savefig(buffer, format=form, dpi=DPI, metadata=unseen)
    write_bytes(path, buffer.getvalue())
