"""Every command that a message of this project names exists, with the options that it is named with."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser

from tinygptv.cli import app, parser_of
from tinygptv.ground.names import STEPS

ROOT = Path(__file__).resolve().parents[1]
PARSED = {"tinygptv.tracking": "tinygptv.tracking.__main__", "flows.pipeline": "flows.pipeline"}
"""Modules whose command line is read here, too."""
PROGRAMS = ("tinygptv", "dvc", "make", "python", "pip", "git", "prefect", "mlflow")
BARE = re.compile(r"(dvc (repro|pull|checkout|commit|remote|push) (?!ended)|make demo|git checkout |tinygptv )")
"""How the fixes of ``tinygptv doctor`` begin, which are commands without backquotes."""
PLACE = "stage1"
"""What stands where a message has a value."""


def texts(path: Path) -> Iterator[str]:
    """The texts of a source file but for its docstrings; ``PLACE`` for the values of an f-string."""
    tree = ast.parse(path.read_text())
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else PLACE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | statements:
            yield node.value


@cache
def named() -> list[tuple[str, str]]:
    """File and command of everything that looks like a command line: in backquotes, or a whole text."""
    found = []
    for folder in ("src", "flows", "scripts", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for text in texts(path):
                spans = re.findall(r"`([^`\n]+)`", text)
                if "`" not in text and BARE.match(text):
                    spans += [part.removeprefix("else ") for part in re.split(r", | if |; | && ", text)]
                for span in (re.sub(r"\{\w+\}", PLACE, span) for span in spans):
                    if span.partition(" ")[0].removeprefix('eval "$(') in PROGRAMS and " " in span:
                        found.append((path.relative_to(ROOT).as_posix(), span))
    return sorted(set(found))


def check_tinygptv(words: list[str]) -> None:
    command, path = parser_of(app), []
    while hasattr(command, "commands") and words:
        assert words[0] in command.commands or words[0] == "--help", f"no command {' '.join([*path, words[0]])}"
        if words[0] == "--help":
            return
        path.append(words[0])
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options


def check_dvc(words: list[str]) -> None:
    parsed = get_main_parser().parse_args(words)
    if words[0] in ("repro", "commit"):
        assert {target for target in parsed.targets or () if "/" not in target} <= {*STEPS, "STEP"}


def check_make(words: list[str]) -> None:
    assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"no target {words[0]}"


def check_python(words: list[str]) -> None:
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()
        return
    assert find_spec(words[1]) is not None, f"no module {words[1]}"
    if words[1] in PARSED:
        importlib.import_module(PARSED[words[1]])._parser().parse_args(words[2:])


def check_pip(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [name for word in words for found in re.findall(r"\.\[([\w,]+)\]", word) for name in found.split(",")]
    assert words[0] == "install" and set(wanted) <= set(extras)
    assert all((ROOT / words[place + 1]).is_file() for place, word in enumerate(words) if word in ("-c", "-r"))


def check_git(words: list[str]) -> None:
    known = subprocess.run(["git", "--list-cmds=builtins"], capture_output=True, text=True, check=True).stdout.split()
    assert words[0] in known


def check_prefect(words: list[str]) -> None:
    assert words[0] in ("server", "deploy", "work-pool", "worker", "profile", "config")


def check_mlflow(words: list[str]) -> None:
    assert words[0] in ("server", "ui")


@pytest.mark.parametrize(("file", "command"), named(), ids=[f"{file}: {command}" for file, command in named()])
def test_the_command_exists(file, command):
    words = shlex.split(command.removeprefix('eval "$(').removesuffix(')"'))
    try:
        globals()[f"check_{words[0]}"](words[1:])
    except (SystemExit, DvcParserError):
        pytest.fail(f"{file}: `{command}` is no command line of {words[0]}")


def test_the_search_finds_what_it_is_for():
    found = {command for _, command in named()}
    assert {"make demo", "dvc pull", "tinygptv up", "python -m tinygptv.tracking ship"} <= found
    for wrong in (["nosuch"], ["team", "nosuch"], ["results", "--nosuch"]):
        with pytest.raises(AssertionError):
            check_tinygptv(wrong)
    with pytest.raises(AssertionError):
        check_dvc(["repro", "nosuch"])
    with pytest.raises(DvcParserError):
        check_dvc(["nosuch"])
    for check in (check_make, check_git):
        with pytest.raises(AssertionError):
            check(["nosuch"])
