"""One word, one meaning: names of classes, and the words of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "tinygptv"
FILES = sorted([*SOURCE.rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
ROW = re.compile(r"\| `(\w+)` \| .* \| (?:`([\w/]+\.py)`|.) \|")


def name_of(path: Path) -> str:
    """As in the table: below the package, or below the checkout."""
    return path.relative_to(SOURCE if path.is_relative_to(SOURCE) else ROOT).as_posix()


def defined() -> dict[str, list[str]]:
    """Module, class, function, type or constant → the files that define it, methods left out."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        homes[path.stem].append(name_of(path))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                homes[node.name].append(name_of(path))
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name):
                            homes[name.id].append(name_of(path))
    return homes


DEFINED = defined()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
WORDS = [(row[1], row[2]) for line in CONTRIBUTING.splitlines() if (row := ROW.fullmatch(line))]


def test_a_class_has_its_name_alone():
    public = re.compile(r"[A-Z]\w*[a-z]\w*")
    assert {name: homes for name, homes in DEFINED.items() if public.fullmatch(name) and len(homes) > 1} == {}


def test_nothing_but_a_test_is_called_one():
    assert {name: homes for name, homes in DEFINED.items() if name.startswith("test")} == {}


@pytest.mark.parametrize(("word", "home"), WORDS)
def test_a_word_has_one_home(word, home):
    assert DEFINED.get(word, []) == ([home] if home else [])


def test_the_table_is_read():
    wanted = {"Stage", "Version", "Question", "Task", "Settings", "Check", "Difference", "Job", "card", "read_lock"}
    assert wanted <= dict(WORDS).keys()
