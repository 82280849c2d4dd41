"""The house as one picture: the floors of ``pyproject.toml``, their packages, and what imports what.

    python scripts/architecture.py            # writes docs/architecture.svg
    python scripts/architecture.py --check    # writes nothing; exit 1 if it shows other imports than the code has

A line that others imply is left out: where ``a`` imports ``b`` and ``b`` imports ``c``, ``a -> c`` is not drawn, and
none to what all others stand on. What is drawn is written into the picture, too, as its description; a check compares
that and no words, sizes or places.

Lines are cut at every row that they pass; there they have a lane, which lines to one box share. Grandalf sorts the
rows; where things stand in them is a linear program: as little way sideways as the rows allow.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path

import grimp
import networkx as nx
from grandalf.graphs import Edge, Vertex, graph_core
from grandalf.layouts import Layer, SugiyamaLayout, VertexViewer
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from scipy.optimize import linprog

from tinygptv.evaluation.drawing import BLUE, FAINT, INK, ORANGE, PURPLE, QUIET, VERMILLION, figure
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import complain

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE, FLOWS = "tinygptv", "flows"
COLOURS = {FLOWS: ORANGE, "steps": VERMILLION, "tracking": PURPLE}
"""Who calls it, as in docs/pipeline.png: Prefect, DVC, MLflow."""
BASE = ("config", "remotes", "ground")
"""What every package may use: drawn under all others, without lines."""
WIDTH, GAP, AISLE = 9.4, 0.42, 0.2
"""Inches: what is drawn, between two rows, between what stands in a row."""
BOX, NAME, LINE, LETTER = 1.95, 0.2, 0.14, 0.064
"""Inches: a box, its name and a line of words in height, the width of a letter."""
SWEEPS, STRAIGHT = 8, 4
"""Times that the rows are sorted; how much more a way sideways counts for a lane, at each end, than for a box."""

Lines = frozenset[tuple[str, str]]
Item = str | tuple[str]
"""What has a place in a row: a box by its name, or the lane of the lines to a box, as a tuple of that name."""
End = tuple[int, Item]  # an item and its row
Segment = tuple[End, End]  # a piece of a line, from a row to the next one


def imports() -> Lines:
    """Pairs of packages of which the first imports the second, in functions too, and not for a type checker alone."""
    graph = grimp.build_graph(PACKAGE, FLOWS, exclude_type_checking_imports=True, cache_dir=None)
    for package in (FLOWS, *graph.find_children(PACKAGE)):
        graph.squash_module(package)
    boxes = graph.modules - {PACKAGE, f"{PACKAGE}.__main__"}  # these two only pass on
    found = ((a, b) for a in boxes for b in graph.find_modules_directly_imported_by(a) & boxes - {a})
    return frozenset((a.split(".")[-1], b.split(".")[-1]) for a, b in found)


def floors() -> list[list[str]]:
    """Packages by floor, from the top; the flows stand on the top one, beside the command line."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    found = (re.findall(r"\b[a-z]\w*", layer) for layer in layers)  # no ``__main__``
    top, *rest = filter(None, found)
    return [[*top, FLOWS], *rest]


def telling(lines: Lines) -> Lines:
    """The lines that no others imply, but for those to the base."""
    return frozenset(nx.transitive_reduction(nx.DiGraph((a, b) for a, b in lines if b not in BASE)).edges)


def described(plan: Sequence[Sequence[str]], lines: Lines) -> str:
    """What the picture shows, as text: a floor a line, then a package and what its lines go to."""
    below = nx.to_dict_of_lists(nx.DiGraph(sorted(lines)))
    told = [f"{name} -> {' '.join(below[name])}" for name in sorted(below) if below[name]]
    return "\n".join([*(" ".join(sorted(floor)) for floor in plan), *told])


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
    graph = nx.DiGraph(lines)
    graph.add_nodes_from(chain(*plan))
    return [sorted(row) for floor in plan for row in nx.topological_generations(graph.subgraph(floor))]


def pieces(rows: Sequence[Sequence[str]], lines: Iterable[tuple[str, str]]) -> list[Segment]:
    """The lines, cut at every row; each runs down."""
    row_of = {name: number for number, row in enumerate(rows) for name in row}
    found: set[Segment] = set()
    for a, b in lines:
        items: list[Item] = [a, *[(b,)] * (row_of[b] - row_of[a] - 1), b]
        found.update(pairwise(enumerate(items, row_of[a])))
    return sorted(found, key=str)


def arranged(rows: Sequence[Sequence[str]], segments: Sequence[Segment]) -> list[list[Item]]:
    """Boxes and lanes of each row, in an order with few crossings."""
    graph = nx.Graph(segments)
    graph.add_nodes_from((number, name) for number, row in enumerate(rows) for name in row)
    order: list[list[Item]] = [[] for _ in rows]
    for part in nx.connected_components(graph):
        vertices = {end: Vertex(end) for end in sorted(graph, key=itemgetter(0)) if end in part}
        for vertex in vertices.values():
            vertex.view = VertexViewer()
        edges = [Edge(vertices[a], vertices[b]) for a, b in segments if a in part]
        layout = SugiyamaLayout(graph_core(list(vertices.values()), edges))
        layout.alt_e = []  # none runs up
        layout.layers = [Layer(row) for _, row in groupby(vertices.values(), key=lambda vertex: vertex.data[0])]
        for rank, layer in enumerate(layout.layers):  # the rows are given, so there is no `init_all` that finds them
            for vertex in layer:
                layout.grx[vertex].rank = rank
            layer.setup(layout)
        for _ in range(SWEEPS):
            list(layout.ordering_step())
        for vertex in chain(*layout.layers):
            order[vertex.data[0]].append(vertex.data[1])
    return order


def straightened(
    order: Sequence[Sequence[Item]], segments: Sequence[Segment], widths: Mapping[End, float], total: float, room: float
) -> dict[End | Segment, float]:
    """The middle of every item, and where every segment leaves the upper of its two, for the middle of the lower one.

    Items stand within ``total``, in their order. At least ``room`` is between two items, between a segment and the
    corners of the box that it leaves, and between two that leave one where it is wide enough.
    """
    ends = [(number, item) for number, row in enumerate(order) for item in row]
    apart = [(a, b, (widths[a] + widths[b]) / 2 + room) for a, b in pairwise(ends) if a[0] == b[0]]
    pulls = {}
    for end in ends:
        leaving = [(end, lower) for lower in ends if (end, lower) in segments]
        slack = max(0.0, widths[end] / 2 - room)
        apart += [(a, b, min(room, 2 * slack / (len(leaving) - 1))) for a, b in pairwise(leaving)]
        for segment in leaving:
            left, right = (segment, "left"), (segment, "right")
            pulls[right] = 1 + STRAIGHT * sum(isinstance(item, tuple) for _, item in segment)
            pulls[left] = -pulls[right]
            apart += [(end, segment, -slack), (segment, end, -slack)]
            apart += [pair for at in (segment, segment[1]) for pair in ((left, at, 0.0), (at, right, 0.0))]
    keys = [*ends, *segments, *pulls]
    found = linprog(
        [pulls.get(key, 0) for key in keys],
        A_ub=[[(key == a) - (key == b) for key in keys] for a, b, _ in apart],
        b_ub=[-least for *_, least in apart],
        bounds=[(widths.get(key, 0) / 2, total - widths.get(key, 0) / 2) for key in keys],
    )
    assert found.success, found.message
    return dict(zip((*ends, *segments), found.x, strict=False))  # without the pulls' own


def draw(plan: Sequence[Sequence[str]], lines: Lines, path: Path) -> None:
    """Write the picture."""
    rows = rows_of(plan, lines)
    segments = pieces(rows, lines)
    order = arranged(rows, segments)
    wide, width = widths(order)
    x = straightened(order, segments, wide, total=width, room=AISLE)
    texts = {end: textwrap.fill(words(end[1]), int(inches / LETTER - 2)) for end, inches in wide.items() if inches}
    heights = [NAME + LINE * (2 + max(texts[r, name].count("\n") for name in row)) for r, row in enumerate(rows)]
    bottoms = [sum(heights[r + 1 :]) + GAP * (len(rows) - r - 0.5) for r in range(len(rows))]
    tops = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    with figure(width + AISLE, tops[0] + GAP / 2, path, description=described(plan, lines)) as drawing:
        axes = drawing.add_axes((0, 0, 1, 1), xlim=(-AISLE / 2, width + AISLE / 2), ylim=(0, tops[0] + GAP / 2))
        axes.set_axis_off()
        for floor in plan[::2]:
            own = [r for r, row in enumerate(rows) if row[0] in floor]
            axes.axhspan(bottoms[own[-1]] - GAP / 2, tops[own[0]] + GAP / 2, color=FAINT, alpha=0.35, linewidth=0)
        for (r, item), (below, target) in segments:
            start, end = x[(r, item), (below, target)], (x[below, target], tops[below])
            line(axes, [(start, tops[r]), (start, bottoms[r]), end], arrow=isinstance(target, str))
        for (r, name), text in texts.items():
            box(axes, (x[r, name], bottoms[r], wide[r, name], heights[r]), name, text)


def widths(order: Sequence[Sequence[Item]]) -> tuple[dict[End, float], float]:
    """Inches of every box (a lane has none), and of what holds the fullest row."""
    found = {(r, item): BOX if isinstance(item, str) else 0.0 for r, row in enumerate(order) for item in row}
    width = max(WIDTH, *(sum(found[r, item] + AISLE for item in row) for r, row in enumerate(order)))
    return found | {end: width for end in found if end[1] in BASE}, width


def line(axes: Axes, points: Sequence[tuple[float, float]], *, arrow: bool) -> None:
    """A line down beside the boxes of a row (or behind the one that it leaves), and in a curve to the next row."""
    start, (x, y), end = points
    middle = (y + end[1]) / 2
    codes = [Curve.MOVETO, Curve.LINETO, *[Curve.CURVE4] * 3]
    curve = Curve([start, (x, y), (x, middle), (end[0], middle), end], codes)
    style = "-|>" if arrow else "-"
    axes.add_patch(FancyArrowPatch(path=curve, arrowstyle=style, mutation_scale=9, color=QUIET, linewidth=1.1))


def box(axes: Axes, place: tuple[float, float, float, float], name: str, text: str) -> None:
    """A package: its name, and below it what it says of itself."""
    x, bottom, width, height = place
    shape = FancyBboxPatch((x - width / 2, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.06")
    shape.set(edgecolor=COLOURS.get(name, BLUE), facecolor="white", linewidth=1.4)
    axes.add_patch(shape)
    y = bottom + (height - NAME + LINE * (1 + text.count("\n"))) / 2
    axes.text(x, y + 0.02, name, fontsize=10, fontweight="bold", ha="center", va="bottom", color=INK)
    axes.text(x, y - 0.02, text, fontsize=7.5, ha="center", va="top", color=INK)


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
