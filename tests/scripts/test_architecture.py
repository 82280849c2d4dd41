"""The drawing of the house: it shows the imports as they are, and shows them well."""

import importlib
import re
import shutil
import sys
from itertools import combinations, pairwise
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))  # as for whoever runs one of them
architecture = importlib.import_module("architecture")


@pytest.fixture(scope="module")
def imports():
    return architecture.imports()


def reached(lines):
    """Every pair of which the first leads to the second."""
    found = set(lines)
    while more := {(a, d) for a, b in found for c, d in found if b == c} - found:
        found |= more
    return found


def test_the_committed_drawing_shows_the_imports_of_now(imports):
    present = architecture.described(architecture.floors(), architecture.telling(imports))
    assert architecture.shown(architecture.PICTURE) == present, "run `python scripts/architecture.py`"


def test_an_import_more_or_less_makes_the_drawing_stale(imports, tmp_path, monkeypatch, capsys):
    copy = shutil.copy(architecture.PICTURE, tmp_path / "a.svg")
    monkeypatch.setattr(architecture, "PICTURE", Path(copy))
    monkeypatch.setattr(sys, "argv", ["architecture.py", "--check"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    for found, code in (
        (imports, 0),
        (imports | {("planning", "tracking")}, 1),
        (imports - {("training", "model")}, 1),
        (imports | {("cli", "data")}, 0),  # by way of others it is there already
    ):
        monkeypatch.setattr(architecture, "imports", lambda found=found: found)
        assert architecture.main() == code
    assert capsys.readouterr().err.count("run `python scripts/architecture.py`") == 2


def test_the_imports_are_those_between_packages(imports):
    assert {("steps", "training"), ("flows", "ground"), ("data", "config"), ("cli", "commands")} <= imports
    names = {name for pair in imports for name in pair}
    assert names == {name for floor in architecture.floors() for name in floor}
    assert not {name for name in names if "." in name or name.startswith("__")}


def test_what_is_drawn_says_all_and_nothing_twice(imports):
    drawn = architecture.telling(imports)
    over = {(a, b) for a, b in imports if b not in architecture.BASE}
    assert reached(drawn) == reached(over)
    assert [line for line in drawn if line in reached(drawn - {line})] == []


def test_lines_run_down(imports):
    lines, plan = architecture.telling(imports), architecture.floors()
    rows = architecture.rows_of(plan, lines)
    row_of = {name: number for number, row in enumerate(rows) for name in row}
    assert sorted(row_of) == sorted(name for floor in plan for name in floor)
    assert [(a, b) for a, b in lines if row_of[a] >= row_of[b]] == []


def test_packages_stand_apart_and_lanes_pass_beside_them(imports):
    lines, plan = architecture.telling(imports), architecture.floors()
    rows = architecture.rows_of(plan, lines)
    segments = architecture.pieces(rows, lines)
    order = architecture.arranged(rows, segments)
    wide = {(r, item): float(isinstance(item, str)) for r, row in enumerate(order) for item in row}
    x = architecture.straightened(order, segments, wide, total=9.0, room=0.2)
    for r, row in enumerate(order):
        for left, right in pairwise((r, item) for item in row):
            assert x[right] - x[left] >= (wide[left] + wide[right]) / 2 + 0.2 - 1e-9
    assert all(inches / 2 - 1e-9 <= x[end] <= 9.0 - inches / 2 + 1e-9 for end, inches in wide.items())


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_picture_is_as_wide_as_its_fullest_row(count):
    order = [[*"abcdefghijkl"[:count], ("ground",)], ["ground"]]
    wide, width = architecture.widths(order)
    assert width >= architecture.WIDTH and wide[1, "ground"] == width
    x = architecture.straightened(order, [], wide, total=width, room=architecture.AISLE)
    for (r, item), at in x.items():
        assert wide[r, item] / 2 - 1e-9 <= at <= width - wide[r, item] / 2 + 1e-9


@pytest.mark.parametrize(
    "lines",
    [
        [("a", "f"), ("b", "e"), ("c", "d"), ("f", "g"), ("a", "g")],
        [("a", "d"), ("b", "e"), ("c", "d"), ("f", "g"), ("a", "g")],  # not in the order of the names
    ],
)
def test_lines_that_need_not_cross_do_not(lines):
    rows = [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    segments = architecture.pieces(rows, lines)
    assert (((0, "a"), (1, ("g",))) in segments) and (((1, ("g",)), (2, "g")) in segments)
    order = architecture.arranged(rows, segments)
    place = {(r, item): i for r, row in enumerate(order) for i, item in enumerate(row)}
    for (a, b), (c, d) in combinations(segments, 2):
        assert a[0] != c[0] or (place[a] - place[c]) * (place[b] - place[d]) >= 0


def test_a_package_without_lines_has_its_place():
    rows = [["a", "b"], ["c", "d"], ["e"]]
    order = architecture.arranged(rows, architecture.pieces(rows, [("b", "c"), ("d", "e")]))
    assert [sorted(row) for row in order] == rows


def test_lines_leave_their_box_apart_and_run_straight_where_they_can():
    order = [["a"], [*"bcd", ("e",)], ["e"]]
    segments = architecture.pieces([["a"], [*"bcd"], ["e"]], [("a", name) for name in "bcde"])
    wide = {(r, item): 2.0 * isinstance(item, str) for r, row in enumerate(order) for item in row}
    x = architecture.straightened(order, segments, wide, total=9.0, room=0.2)
    leaving = [x[(0, "a"), (1, item)] - x[0, "a"] for item in order[1]]
    assert leaving[0] >= -0.8 - 1e-9 and leaving[-1] <= 0.8 + 1e-9
    assert all(right - left >= 0.2 - 1e-9 for left, right in pairwise(leaving))
    straight = [b[1] for a, b in segments if x[a, b] == pytest.approx(x[b])]
    assert straight == ["d", ("e",), "e"]  # the others stand too far to the left


def test_the_same_imports_are_the_same_bytes(imports, tmp_path):
    lines, plan = architecture.telling(imports), architecture.floors()
    for name in ("a.svg", "b.svg"):
        architecture.draw(plan, lines, tmp_path / name)
    content = (tmp_path / "a.svg").read_text()
    assert content == (tmp_path / "b.svg").read_text()
    assert "<text" not in content and "matplotlib" not in content.lower()
    assert architecture.shown(tmp_path / "a.svg") == architecture.described(plan, lines)
    assert {name for floor in plan for name in floor} <= set(re.findall(r"<!-- (\w+) -->", content))


@pytest.mark.parametrize(
    ("docstring", "words"),
    [
        ("Training: optimizer, loop.", "Optimizer, loop"),
        ("The record of runs: the only importer.", "The record of runs"),
        ("``tinygptv x``: what may stand (here) in\nthe way.\n\nMore.", "What may stand in the way"),
        ("A page (docs/x.md). More of it.", "A page"),
    ],
)
def test_a_package_is_described_by_its_own_first_words(docstring, words, tmp_path, monkeypatch):
    (tmp_path / "src" / "tinygptv").mkdir(parents=True)
    (tmp_path / "src" / "tinygptv" / "x.py").write_text(f'"""{docstring}"""\n')
    monkeypatch.setattr(architecture, "ROOT", tmp_path)
    assert architecture.words("x") == words
