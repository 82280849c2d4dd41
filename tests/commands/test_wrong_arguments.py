"""Every command and every kind of wrong argument: one line that helps, at once, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from tests.checkouts import ROOT, bare_clone
from tests.commands.wrong_lines import NEEDED, PROFILES, RIGHT, ROOTS, VALUES
from tinygptv.cli import app, parser_of


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command of ``tinygptv`` by its words."""

    def below(group: object, words: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, f"{words}{name} ")
            else:
                yield f"{words}{name}", command

    return dict(below(parser_of(app), ""))


def rows() -> list[tuple[str, str]]:
    """Command lines, and what their line must say."""
    found = [
        ("", "Missing command"),
        ("nosuch", "No such command 'nosuch'"),
        ("''", "No such command ''"),
        ("promot", "Did you mean 'promote'?"),
        ("--nosuch", "No such option: --nosuch"),
        ("team", "Missing command"),
        ("team nosuch", "No such command 'nosuch'"),
        ("team --nosuch", "No such option: --nosuch"),
    ]
    for name, command in commands().items():
        right = f"{name} {RIGHT[name]}"
        found.append((f"{right} --nosuch", "No such option: --nosuch"))
        if not any(parameter.nargs == -1 for parameter in command.params):
            optional = [p for p in command.params if p.param_type_name == "argument" and not p.required]
            found.append((f"{right} {'1 ' * len(optional)}surplus", "surplus"))
        found += [(f"{name} {given}", said) for given, said in VALUES.get(name, [])]
        if name in NEEDED:
            found.append((name, NEEDED[name]))
        options = {option for parameter in command.params for option in parameter.opts}
        found += [(f"{right} {given}", said) for given, said in ROOTS if "--root" in options]
        found += [(f"{right} {given}", said) for given, said in PROFILES if "--profile" in options]
    return found


ROWS = rows()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which nothing was made, and a picture."""
    folder = bare_clone(tmp_path_factory.mktemp("checkout"))
    shutil.copy(ROOT / "reports" / "tiny" / "answers.png", folder / "picture.png")
    return folder


def clean_environment() -> dict[str, str]:
    """Without an address of a store or server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TINYGPTV_"))}


@pytest.fixture(scope="module")
def told(checkout: Path) -> dict[str, dict[str, object]]:
    """Command line → how the command ended."""
    lines = [shlex.split(line) for line, _ in ROWS]
    command = [sys.executable, str(Path(__file__).with_name("wrong.py")), json.dumps(lines)]
    done = subprocess.run(command, cwd=checkout, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip((line for line, _ in ROWS), json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("line", "said"), ROWS, ids=[repr(line) for line, _ in ROWS])
def test_a_wrong_command_line_is_one_line_at_once(told, line, said):
    found = told[line]
    assert found["code"] == 2, found
    assert found["out"] == ""
    assert str(found["err"]).startswith("tinygptv: ") and str(found["err"]).count("\n") == 1
    assert said in str(found["err"])
    assert found["heavy"] == [] and found["made"] == []


READERS = (
    *("results", "doctor", "plan --gpu 24", "lineage models:/tinygptv@champion", "diff docs docs", "status", "down"),
    *("team status", "team down", "team env", "--help"),
)
"""Commands that only look, and those that end what was never started."""


def test_what_only_reads_leaves_nothing(checkout):
    command = [
        sys.executable,
        str(Path(__file__).with_name("wrong.py")),
        json.dumps([line.split() for line in READERS]),
    ]
    done = subprocess.run(command, cwd=checkout, env=clean_environment(), capture_output=True, text=True, check=True)
    for line, found in zip(READERS, json.loads(done.stdout), strict=True):
        assert (found["made"], found["code"] in (0, 1, 2)) == ([], True), f"{line}: {found}"


def test_every_command_and_every_parameter_has_a_row():
    found = commands()
    assert set(RIGHT) == set(found) and set(VALUES) <= set(found) and set(NEEDED) <= set(found)
    general = {"--root", "--profile", "--help"}
    for name, command in found.items():
        given = " ".join(line for line, _ in VALUES.get(name, []))
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                assert VALUES.get(name), f"{name}: no row for {parameter.name}"
            elif not general & set(parameter.opts):
                assert any(option in given for option in parameter.opts), f"{name}: no row for {parameter.opts}"


@pytest.mark.parametrize("line", ["results --profile nosuch", "replay nosuch --step 1", "promote"])
def test_the_program_itself_says_it_so(checkout, line):
    command = [sys.executable, "-m", "tinygptv.cli", *shlex.split(line)]
    done = subprocess.run(command, cwd=checkout, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("tinygptv: ")
