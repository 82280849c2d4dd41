"""The documentation as data: its blocks of code, the commands in them, its tables."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from tinygptv.ground.names import STEPS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for place in ("*.md", "docs/**/*.md") for path in ROOT.glob(place))
SHELL = ("bash", "sh")
PROGRAMS = (
    "cp",
    "curl",
    "docker",
    "dvc",
    "eval",
    "git",
    "hf",
    "make",
    "mlflow",
    "pip",
    "pre-commit",
    "python",
    "tinygptv",
    "torchrun",
)
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*=\S*$")
SYNOPSIS = re.compile(r"\[-|\[[A-Z]+\.\.\.\]")


@dataclass(frozen=True)
class Block:
    """A fenced block, or an indented one."""

    page: str
    line: int
    """Of its first line, counted from 1."""
    language: str
    """As after the fence; empty where it is indented."""
    text: str

    @property
    def first(self) -> str:
        return self.text.strip().splitlines()[0].strip()

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, text: str | None = None) -> list[Block]:
    """Every block of a page, in its order."""
    lines = (text if text is not None else (ROOT / page).read_text()).splitlines()
    found, place = [], 0
    while place < len(lines):
        fence = re.fullmatch(r"```(\w*)", lines[place].strip())
        indented = lines[place].startswith("    ") and not (place and lines[place - 1].strip())
        end = place + 1
        if fence:
            while lines[end].strip() != "```":
                end += 1
            found.append(Block(page, place + 2, fence[1] or "text", "\n".join(lines[place + 1 : end])))
        elif indented:
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            content = "\n".join(line[4:] for line in lines[place:end]).rstrip()
            found.append(Block(page, place + 1, "", content))
        place = end + 1 if fence else end
    return found


def commands(block: Block) -> list[list[str]]:
    """The commands of a block, each as its words; none where it shows something else.

    After a ``$`` only such lines are commands, the others what they say. A synopsis counts with all that is optional. A
    line that begins with spaces goes on with the one before it.
    """
    lines = re.sub(r"\\\n|\n(?=\s)", " ", block.text).splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    elif block.language not in SHELL and (block.language or not _is_command(lines[0])):
        return []
    return [words for line in lines for words in _words(line)]


def _is_command(line: str) -> bool:
    words = line.split("#")[0].split()
    while words and VARIABLE.match(words[0]):
        words.pop(0)
    return bool(words) and words[0].removeprefix(".venv/bin/") in PROGRAMS and (line != words[0])


def _words(line: str) -> list[list[str]]:
    if SYNOPSIS.search(line):
        line = re.sub(r"\.\.\.|[\[\]]", "", line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word in ("&&", ";", "|", "||"):
            parts.append([])
        elif parts[-1] or not VARIABLE.match(word):
            parts[-1].append(word.removeprefix(".venv/bin/") if not parts[-1] else word)
    return [words for words in parts if words]


def tables(page: str) -> list[list[str]]:
    """The tables of a page: lines that begin with a bar, without a gap."""
    found: list[list[str]] = [[]]
    fenced = False
    for line in (ROOT / page).read_text().splitlines():
        fenced ^= line.strip().startswith("```")
        if line.startswith("|") and not fenced:
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def cells(row: str) -> int:
    """How many cells a row has; a bar after a backslash is text."""
    return len(re.findall(r"(?<!\\)\|", row)) - 1


def check(words: Sequence[str]) -> None:
    """Fail where a command has no such program, target, subcommand, option or step. Nothing is run but ``--help``."""
    program, *rest = words
    if program == "tinygptv":
        from tinygptv.cli import app, parser_of

        _parse(parser_of(app), rest)
    elif program == "mlflow":
        from mlflow.cli import cli

        _parse(cli, rest)
    elif program == "dvc":
        from dvc.cli.parser import get_main_parser

        _check_steps(getattr(get_main_parser().parse_args(rest), "targets", None) or ())
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(rest) <= set(targets), words
    elif program == "python":
        what = rest[:2] if rest[0] == "-m" else rest[:1]
        assert importlib.util.find_spec(rest[1]) if rest[0] == "-m" else (ROOT / rest[0]).is_file(), words
        options = {word for word in rest[len(what) :] if word.startswith("--")}
        assert not options or options <= set(re.findall(r"--[a-z-]+", _help(*what))), words
        _check_steps(value for option, value in pairwise(rest) if option in ("--from", "--to", "--force"))
    elif program == "torchrun":
        from torch.distributed.run import get_args_parser

        found = get_args_parser().parse_args(rest)
        assert found.module, words
        check(["python", "-m", found.training_script, *found.training_script_args])
    elif program == "pip":
        extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        assert set(rest[-1].strip(".[]").split(",")) <= set(extras), words


def _parse(command: Any, words: Sequence[str]) -> None:
    """What click makes of a command line, without running it."""
    while hasattr(command, "get_command"):
        name, *words = words
        found = command.get_command(typer.Context(command), name)
        assert found is not None, f"no command {name}"
        command = found
    try:
        context = command.make_context(command.name, list(words))
    except typer.Exit:  # --help
        return
    if command.name == "verify":
        _check_steps(context.params["steps"] or ())


def _check_steps(names: Iterable[str]) -> None:
    assert {name for name in names if not name.isupper()} <= set(STEPS), names


@cache
def _help(*what: str) -> str:
    done = subprocess.run([sys.executable, *what, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout
