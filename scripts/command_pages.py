"""Write ``docs/commands``: a page for every command, from the parser that reads it; ``--check`` compares.

A command of ``tinygptv`` with its subcommands is one page, a program of the flows another. The first page lists them
all, and the targets of the Makefile.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from flows import pipeline, verify
from tinygptv.cli import app, parser_of
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import complain
from tinygptv.ground.files import write_text

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs" / "commands"
INDEX = "index.md"
COMMAND = "python -m scripts.command_pages"
MADE = f"Written by `{COMMAND}` from the parser of the command line; do not edit."
PROGRAM = "tinygptv"
PROGRAMS = {"flows.pipeline": pipeline._parser, "flows.verify": verify._parser}
"""What is run with ``python -m``, and what makes its parser."""

Row = tuple[str, str]
"""An argument or option as it is typed, and what it means."""


def pages() -> dict[str, str]:
    """Name of the file → its text, in the order in which ``--help`` lists the commands."""
    commands = parser_of(app).commands
    made = {f"{name}.md": _page([PROGRAM, name], _command(name, command)) for name, command in commands.items()}
    made |= {f"{name}.md": _page(["python -m", name], _program(make())) for name, make in PROGRAMS.items()}
    return {INDEX: _index(made), **made}


def _index(made: dict[str, str]) -> str:
    rows = [
        (f"[{_code(title(text))}]({name})", text.split("\n\n")[2].replace("\n", " ")) for name, text in made.items()
    ]
    targets = re.findall(r"^([a-z-]+):.*?##  ?(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return (
        f"# Commands\n\n{MADE} Every command says the same with `--help`.\n\n"
        + _table(("command", "what it does"), rows)
        + "\n## Targets of make\n\n"
        + _table(("target", "what it does"), [(_code("make", name), _plain(what)) for name, what in targets])
    )


def title(page: str) -> str:
    """The command that a page is about."""
    return page.partition("`")[2].partition("`")[0]


def _page(words: list[str], parts: Iterable[str]) -> str:
    return f"# {_code(*words)}\n\n{MADE}\n\n" + "\n".join(parts)


def _code(*words: str) -> str:
    return f"`{' '.join(words)}`"


def _command(name: str, command: Any) -> Iterator[str]:
    """What a command of typer says of itself, and below it its subcommands."""
    yield f"{_linked(command.help)}\n"
    for inner, subcommand in getattr(command, "commands", {}).items():
        yield f"## {_code(name, inner)}\n"
        yield from _command(f"{name} {inner}", subcommand)
    if not hasattr(command, "commands"):
        context = typer.Context(command, info_name=name)
        arguments = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
        yield f"{_code(PROGRAM, name, *arguments, '[OPTIONS]')}\n"
        rows = [_row(parameter, context) for parameter in command.params]
        yield _table(("argument or option", "what it means"), rows)


def _row(parameter: Any, context: typer.Context) -> Row:
    typed, text = parameter.get_help_record(context)
    if parameter.param_type_name == "argument" and not parameter.metavar:
        typed = typed.replace(parameter.name, parameter.name.upper(), 1)
    meaning, _, limits = text.partition("  [")
    return _code(typed), _linked(meaning) + (f" {_code(limits.rstrip(']'))}" if limits else "")


def _program(parser: Parser) -> Iterator[str]:
    """What a parser of argparse says of itself."""
    yield f"{_plain(parser.description or '')}\n"
    rows = [(_code(_typed(action)), _plain(action.help or "")) for action in parser._actions if action.dest != "help"]
    yield _table(("argument or option", "what it means"), rows)


def _typed(action: argparse.Action) -> str:
    value = "|".join(map(str, action.choices)) if action.choices else action.metavar or action.dest.upper()
    if not action.option_strings:
        return f"[{value}]..." if action.nargs == "*" else str(value)
    return ", ".join(action.option_strings) + (f" {value}" if action.nargs != 0 else "")


def _plain(text: str) -> str:
    """What Markdown would take for HTML is text."""
    return text.replace("<", "&lt;")


def _linked(text: str) -> str:
    """Pages that a command names are links."""
    return re.sub(r"docs/(\w+)\.md", r"[\1](../\1.md)", _plain(text))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main() -> int:
    """Write the pages, or check that the written ones are current."""
    parser = Parser(prog=COMMAND, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    arguments = parser.parse_args()
    made = pages()
    there = {path.name: path.read_text() for path in PLACE.glob("*.md")}
    stale = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
    if stale and arguments.check:
        complain("command_pages", f"{', '.join(stale)} stale; run `{COMMAND}`")
        return 1
    for name in stale:
        if name in made:
            write_text(PLACE / name, made[name])
        else:
            (PLACE / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
