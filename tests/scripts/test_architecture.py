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
architecture, layered = (importlib.import_module(name) for name in ("architecture", "layered"))


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
    segments = layered.pieces(rows, lines)
    order = layered.arranged(rows, segments)
    wide = {(r, item): float(isinstance(item, str)) for r, row in enumerate(order) for item in row}
    x = layered.straightened(order, segments, wide, total=9.0, room=0.2)
    for r, row in enumerate(order):
        for left, right in pairwise((r, item) for item in row):
            assert x[right] - x[left] >= (wide[left] + wide[right]) / 2 + 0.2 - 1e-9
    assert all(wide[end] / 2 - 1e-9 <= at <= 9.0 - wide[end] / 2 + 1e-9 for end, at in x.items())


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_picture_is_as_wide_as_its_fullest_row(count):
    order = [[*"abcdefghijkl"[:count], ("ground",)], ["ground"]]
    wide, width = architecture.widths(order)
    assert width >= architecture.WIDTH and wide[1, "ground"] == width - architecture.AISLE
    x = layered.straightened(order, [], wide, total=width - architecture.AISLE, room=architecture.AISLE)
    for (r, item), at in x.items():
        assert wide[r, item] / 2 - 1e-9 <= at <= width - architecture.AISLE - wide[r, item] / 2 + 1e-9


def test_lines_that_need_not_cross_do_not():
    rows = [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    lines = [("a", "f"), ("b", "e"), ("c", "d"), ("f", "g"), ("a", "g")]
    segments = layered.pieces(rows, lines)
    assert (((0, "a"), (1, ("g",))) in segments) and (((1, ("g",)), (2, "g")) in segments)
    order = layered.arranged(rows, segments)
    place = {(r, item): i for r, row in enumerate(order) for i, item in enumerate(row)}
    for (a, b), (c, d) in combinations(segments, 2):
        assert a[0] != c[0] or (place[a] - place[c]) * (place[b] - place[d]) >= 0


def test_who_wants_the_same_place_shares_the_way():
    assert layered.spread([5.0, 5.0], [2.0], (0.0, 10.0)) == [4.0, 6.0]
    assert layered.spread([5.0, 5.0], [2.0], (0.0, 10.0), [3.0, 1.0]) == [4.5, 6.5]
    assert layered.spread([-3.0, 1.0, 20.0], [1.0, 1.0], (0.0, 10.0)) == [0.0, 1.0, 10.0]


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
