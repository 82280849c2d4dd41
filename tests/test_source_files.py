"""Rules on every source file that a reader relies on and that no other tool checks."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tinygptv.ground import file_names

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "src" / "tinygptv").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])

PICKLE_READERS = {
    "src/tinygptv/model/authors/unpickle.py": "torch.load(",
    "src/tinygptv/data/unpickle_refs.py": "pickle",
}
"""The programs that read foreign pickles, each with a restricted unpickler and in a process of its own, and by what."""


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def imported(path: Path) -> set[str]:
    """Absolute names that a file imports anywhere, functions included, but for those only a type checker reads."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{names(path)}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def wrong(find: Callable[[Path], Any]) -> dict[str, Any]:
    """File → what is wrong with it. One test looks at all files: tests of single files were a fifth of the suite."""
    return {names(path): found for path in FILES if (found := find(path))}


@cache
def texts(path: Path) -> set[str]:
    return {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and type(node.value) is str}


def test_a_file_is_short_and_says_what_it_is():
    assert wrong(lambda path: len(path.read_text().splitlines()) > 300) == {}
    assert wrong(lambda path: not ast.get_docstring(tree(path))) == {}


UNSAFE_PACKAGES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"}
UNSAFE = ("extractall", "yaml.load(", "strict=False", "torch.load(", "weights_only=False", "trust_remote_code")
SILENT = re.compile(r"except( Exception| BaseException)?:\s*\n\s*(pass|\.\.\.)\n")


def test_nothing_runs_code_from_data_or_passes_over_what_does_not_fit():
    def unsafe(path: Path) -> set[str]:
        content = path.read_text()
        found = UNSAFE_PACKAGES & packages(path) | {word for word in UNSAFE if word in content}
        return found - {PICKLE_READERS.get(names(path))}

    assert wrong(unsafe) == {}
    assert wrong(lambda path: SILENT.search(path.read_text())) == {}


FILE_NAMES = {text for text in vars(file_names).values() if isinstance(text, str) and re.fullmatch(r"\w+\.\w+", text)}


def test_a_file_that_others_read_is_named_in_one_place():
    def named(path: Path) -> set[str]:
        return {text for text in texts(path) if not re.search(r"\s", text) and text.rpartition("/")[2] in FILE_NAMES}

    assert set(wrong(named)) == {"src/tinygptv/ground/file_names.py"}


def test_one_module_knows_how_dvc_lays_out_its_cache():
    def knows(path: Path) -> bool:
        return bool(texts(path) & {".dir", "files/md5", "??/*"}) or '/ "files"' in path.read_text()

    assert set(wrong(knows)) == {"src/tinygptv/ground/dvc.py"}
