"""The house as one picture: the floors of ``pyproject.toml``, their packages, and what imports what.

    python scripts/architecture.py            # writes docs/architecture.svg
    python scripts/architecture.py --check    # writes nothing; exit 1 if it shows other imports than the code has

A line that others imply is left out: where ``a`` imports ``b`` and ``b`` imports ``c``, ``a -> c`` is not drawn, and
none to what all others stand on. What is drawn is written into the picture, too, as its description; a check compares
that and no words, sizes or places.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from layered import End, Item, Segment, arranged, pieces, spread, straightened

from tinygptv.evaluation.drawing import BLUE, FAINT, INK, ORANGE, PURPLE, QUIET, VERMILLION, figure
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import complain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE, FLOWS = "tinygptv", "flows"
COLOURS = {FLOWS: ORANGE, "steps": VERMILLION, "tracking": PURPLE}
"""Who calls it, as in docs/pipeline.png: Prefect, DVC, MLflow."""
BASE = ("config", "ground")
"""What every package may use: drawn under all others, without lines."""
WIDTH, GAP, AISLE = 9.6, 0.42, 0.2
"""Inches: the picture, between two rows, between what stands in a row."""
BOXES = {1: 3.6, 2: 2.7}
"""Inches of a box in a row of so many; those of fuller rows are ``BOX`` wide."""
BOX, NAME, LINE, PADDING, LETTER = 1.95, 0.2, 0.14, 0.12, 0.064
"""Inches, of a box and within it: its name and a line of words in height, what is free, the width of a letter."""

Lines = frozenset[tuple[str, str]]


def imports() -> Lines:
    """Pairs of packages of which the first imports the second, in functions too, and not for a type checker alone."""
    import grimp

    graph = grimp.build_graph(PACKAGE, FLOWS, exclude_type_checking_imports=True, cache_dir=None)
    found = {
        (package_of(module), package_of(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return frozenset((a, b) for a, b in found if a and b and a != b)


def package_of(module: str) -> str:
    """The box of a module; empty for the package's own ``__init__`` and ``__main__``, which only pass on."""
    first, *rest = module.split(".")
    name = first if first == FLOWS else (rest or [""])[0]
    return "" if name.startswith("__") else name


def floors() -> list[list[str]]:
    """Packages by floor, from the top; the flows stand on the top one, beside the command line."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    found = [[name for name in re.split(r"[ :|()]+", layer) if package_of(f"{PACKAGE}.{name}")] for layer in layers]
    top, *rest = filter(None, found)
    return [[*top, FLOWS], *rest]


def telling(lines: Lines) -> Lines:
    """The lines that no others imply, but for those to the base."""
    lower: dict[str, set[str]] = {}
    for a, b in lines:
        lower.setdefault(a, set()).add(b)
    below: dict[str, set[str]] = {}

    def reach(name: str) -> set[str]:
        if name not in below:
            below[name] = lower.get(name, set()).union(*map(reach, lower.get(name, ())))
        return below[name]

    return frozenset((a, b) for a, b in lines if b not in BASE and not any(b in reach(c) for c in lower[a]))


def described(plan: Sequence[Sequence[str]], lines: Lines) -> str:
    """What the picture shows, as text: a floor a line, then a package and what its lines go to."""
    told = [" ".join(sorted(floor)) for floor in plan]
    for name in sorted({a for a, _ in lines}):
        told.append(f"{name} -> {' '.join(sorted(b for a, b in lines if a == name))}")
    return "\n".join(told)


def shown(picture: Path) -> str:
    """The description that a picture carries."""
    (found,) = ET.parse(picture).iter("{http://purl.org/dc/elements/1.1/}description")  # noqa: S314 (our own file)
    return found.text or ""


def words(name: str) -> str:
    """What a package says of itself: its docstring's first sentence, up to a colon where that is enough."""
    place = ROOT / FLOWS if name == FLOWS else ROOT / "src" / PACKAGE / name
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    first = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0]
    plain = re.sub(r"^``[^`]*``: | \(.*?\)|``", "", " ".join(first.split()))
    told = next(part for part in (*re.split(r"[.:;](?: |$)", plain), plain) if " " in part)
    return told[0].upper() + told[1:]


def rows_of(plan: Sequence[Sequence[str]], lines: Lines) -> list[list[str]]:
    """Rows from the top: a floor, or several where its packages import one another."""
    rows: list[list[str]] = []
    for floor in plan:
        left = list(floor)
        while left:
            rows.append([name for name in left if not any((other, name) in lines for other in left)])
            left = [name for name in left if name not in rows[-1]]
    return rows


def draw(plan: Sequence[Sequence[str]], lines: Lines, path: Path) -> None:
    """Write the picture."""
    rows = rows_of(plan, lines)
    segments = pieces(rows, lines)
    order = arranged(rows, segments)
    wide, width = widths(order)
    x = straightened(order, segments, wide, total=width - AISLE, room=AISLE)
    texts = {
        (r, name): textwrap.wrap(words(name), int((wide[r, name] - PADDING) / LETTER))
        for r, row in enumerate(rows)
        for name in row
    }
    heights = [NAME + PADDING + LINE * max(len(texts[r, name]) for name in row) for r, row in enumerate(rows)]
    total = sum(heights) + GAP * len(rows)
    tops = [total - GAP / 2 - sum(heights[:r]) - GAP * r for r in range(len(rows))]
    bottoms = [top - height for top, height in zip(tops, heights, strict=True)]
    with figure(width, total, path, description=described(plan, lines)) as drawing:
        axes = drawing.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(-AISLE / 2, width - AISLE / 2)
        axes.set_ylim(0, total)
        last = 0
        for number, floor in enumerate(plan):
            first, last = last, last + sum(set(row) <= set(floor) for row in rows)
            if number % 2 == 0:
                axes.axhspan(bottoms[last - 1] - GAP / 2, tops[first] + GAP / 2, color=FAINT, alpha=0.35, linewidth=0)
        for (r, item), at in x.items():
            if isinstance(item, tuple):
                line(axes, (at, tops[r]), (at, bottoms[r]))
            for (lower, name), start in leaving((r, item), segments, x, wide).items():
                line(axes, (start, bottoms[r]), (x[lower, name], tops[lower]), arrow=isinstance(name, str))
        for (r, name), told in texts.items():
            box(axes, (x[r, name] - wide[r, name] / 2, bottoms[r], wide[r, name], heights[r]), name, told)


def widths(order: Sequence[Sequence[Item]]) -> tuple[dict[End, float], float]:
    """Inches of every box (a lane has none), and of a picture that holds the fullest row."""
    found: dict[End, float] = {}
    for r, row in enumerate(order):
        boxes = sum(isinstance(item, str) for item in row)
        found |= {(r, item): BOXES.get(boxes, BOX) if isinstance(item, str) else 0.0 for item in row}
    rows = [sum(found[r, item] + AISLE for item in row) for r, row in enumerate(order)]
    width = max(WIDTH, *rows)
    found |= {end: width - AISLE for end in found if end[1] in BASE}
    return found, width


def leaving(
    upper: End, segments: Sequence[Segment], x: Mapping[End, float], wide: Mapping[End, float]
) -> dict[End, float]:
    """Where the lines of an item leave it: as near to where they go as its width and its other lines let them."""
    ends = sorted((b for a, b in segments if a == upper), key=lambda end: x[end])
    room = max(0.0, wide[upper] / 2 - PADDING)
    edges = (x[upper] - room, x[upper] + room)
    gap = min(AISLE, 2 * room / max(1, len(ends) - 1))
    wanted = [min(max(x[end], edges[0]), edges[1]) for end in ends]
    return dict(zip(ends, spread(wanted, [gap] * (len(ends) - 1), edges), strict=True))


def line(axes: Axes, start: tuple[float, float], end: tuple[float, float], *, arrow: bool = False) -> None:
    """A line that leaves and comes vertically."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    middle = (start[1] + end[1]) / 2
    points = [start, (start[0], middle), (end[0], middle), end]
    style = {"arrowstyle": "-|>" if arrow else "-", "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0}
    curve = Curve(points, [Curve.MOVETO, *[Curve.CURVE4] * 3])
    axes.add_patch(FancyArrowPatch(path=curve, color=QUIET, linewidth=1.1, **style))


def box(axes: Axes, place: tuple[float, float, float, float], name: str, told: Sequence[str]) -> None:
    """A package: its name, and below it what it says of itself."""
    from matplotlib.patches import FancyBboxPatch

    left, bottom, width, height = place
    shape = FancyBboxPatch((left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.06", linewidth=1.4)
    shape.set(edgecolor=COLOURS.get(name, BLUE), facecolor="white")
    axes.add_patch(shape)
    look = {"ha": "center", "va": "center", "color": INK}
    top = bottom + (height + NAME + LINE * len(told)) / 2
    axes.text(left + width / 2, top - NAME / 2, name, fontsize=10, fontweight="bold", **look)
    for number, text in enumerate(told):
        axes.text(left + width / 2, top - NAME - LINE * (number + 0.5), text, fontsize=7.5, **look)


def main() -> int:
    """Draw, or compare what is drawn with the code."""
    parser = Parser(prog="python scripts/architecture.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if other imports are shown")
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    plan, lines = floors(), telling(imports())
    if not arguments.check:
        draw(plan, lines, PICTURE)
    elif not PICTURE.is_file() or shown(PICTURE) != described(plan, lines):
        complain("architecture", "docs/architecture.svg is stale; run `python scripts/architecture.py`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
