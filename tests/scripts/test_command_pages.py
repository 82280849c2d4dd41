"""The pages of the commands: all of them, as the parsers are now."""

from types import SimpleNamespace

import pytest

from scripts import command_pages
from tinygptv.cli import app, parser_of
from tinygptv.ground.arguments import Parser


@pytest.fixture(scope="module")
def pages():
    return command_pages.pages()


def test_the_committed_pages_are_current(pages):
    there = {path.name: path.read_text() for path in command_pages.PLACE.glob("*.md")}
    assert there == pages, f"run `{command_pages.COMMAND}`"


def test_every_command_and_option_has_its_line(pages):
    for name, command in parser_of(app).commands.items():
        page = pages[f"{name}.md"]
        assert f"]({name}.md)" in pages["index.md"]
        inner = getattr(command, "commands", {name: command})
        for subcommand in inner.values():
            assert subcommand.help.partition("\n")[0] in page
            for parameter in subcommand.params:
                if parameter.param_type_name == "option":
                    assert f"| `{parameter.opts[0]}" in page, (name, parameter.opts)
    assert "| `--set KEY=VALUE` |" in pages["flows.pipeline.md"]
    assert "| `make demo` |" in pages["index.md"]


def test_what_a_parser_has_and_a_page_has_not_is_stale(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["command_pages", *arguments])
        return command_pages.main()

    parser = Parser(description="What it does with <this>.")
    parser.add_argument("step", nargs="*")
    parser.add_argument("--quick", action="store_true", help="a | b")
    parser.add_argument("--how", choices=("so", "otherwise"))
    monkeypatch.setattr(command_pages, "PLACE", tmp_path)
    monkeypatch.setattr(command_pages, "PROGRAMS", {"flows.new": lambda: parser})
    monkeypatch.setattr(command_pages, "parser_of", lambda app: SimpleNamespace(commands={}))
    (tmp_path / "gone.md").write_text("of a command that is no more\n")
    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flows.new.md", "index.md"]
    text = (tmp_path / "flows.new.md").read_text()
    assert "What it does with &lt;this>." in text and "| `[STEP]...` |" in text and "| `--quick` | a \\| b |" in text
    assert "| `--how so\\|otherwise` |" in text
    parser.add_argument("--slow", help="more")
    assert run("--check") == 1
    assert command_pages.COMMAND in capsys.readouterr().err
