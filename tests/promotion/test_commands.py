"""``tinygptv promote``, ``rollback`` and ``evaluate-champion`` as a person types them."""

from __future__ import annotations

import json

import pytest
import typer

from tests.promotion.worlds import examine
from tinygptv import cli
from tinygptv.commands import promotion as commands
from tinygptv.promotion import champion, promote


@pytest.fixture
def call(world, monkeypatch, capsys):
    """Run a command in the world's checkout: exit code and stdout."""
    monkeypatch.chdir(world.root)
    monkeypatch.setattr("tinygptv.config.profiles.read_profile", lambda root, name: world.profile)
    monkeypatch.setattr(promote.promote, "__defaults__", (examine,))
    monkeypatch.setattr(champion.evaluate_champion, "__defaults__", (examine,))
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    commands.add_to(app)
    monkeypatch.setattr(cli, "app", app)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_promote_and_rollback(world, call):
    code, out, error = call("promote", "nobody")
    assert (code, out) == (2, "")
    assert error.startswith(f"tinygptv: {world.name} has no version @nobody") and error.count("\n") == 1
    code, out, _ = call("promote", "1")
    assert (code, out) == (0, f"{world.name} version 1 is the champion already\n")
    code, out, _ = call("promote", "2")
    assert code == 1
    lines = out.splitlines()
    assert " ".join(lines[0].split()) == "check value limit passed champion before stage 1 what was seen"
    assert any(line.startswith("easy_vqa against champion") and " NO " in line for line in lines)
    assert lines[-1].startswith(f"{world.name} version 2 was refused: easy_vqa against champion: ")
    code, out, _ = call("promote", "--json")
    result = json.loads(out)
    assert (code, result["promoted"], result["champion"], result["decision"]["passed"]) == (0, True, "1", True)
    code, out, _ = call("rollback")
    assert (code, out) == (0, f"{world.name} version 1 is champion again, not version 3\n")
    code, out, _ = call("evaluate-champion", "--json")
    assert (code, json.loads(out)["version"]) == (0, "1")
