"""The form of docs/data.md, added as the page says: its module, its line, its test, and what a user has of it then."""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest

from tests.data.formats.official import draw
from tests.documents import ROOT
from tinygptv.config.formats import FORMATS
from tinygptv.own_data.files import data_set_of, form_at
from tinygptv.own_data.reading import read_set

PAGE = (ROOT / "docs" / "data.md").read_text()
SECTION = PAGE[PAGE.index("## Another form") :]


@pytest.fixture(autouse=True)
def token_lines(tmp_path, monkeypatch):
    """The page's module, in the table by the page's line, in which the names are sorted."""
    ((before, line, after),) = re.findall(r"\n +(\"\w+\": .*),\n\+ +(\"\w+\": .*),\n +(\"\w+\": .*),", SECTION)
    assert before < line < after
    for known in (before, after):
        name, module = known.replace('"', "").split(": ")
        assert FORMATS[name] == module
    name, module = line.replace('"', "").split(": ")
    path = tmp_path / "token_lines.py"
    path.write_text(re.search(r"```python\n(.*?)```", SECTION, re.DOTALL)[1])
    spec = importlib.util.spec_from_file_location(module, path)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module, loaded)
    spec.loader.exec_module(loaded)
    monkeypatch.setitem(FORMATS, name, module)


def test_the_test_of_the_page_passes(tmp_path):
    added = re.findall(r"(?m)^\+(?!\+\+)(.*)$", SECTION[SECTION.index("test_token_lines.py") :])
    names = {}
    exec("\n".join(added), names)
    (test,) = (names[name] for name in names if name.startswith("test_"))
    test(tmp_path)


def test_files_of_the_form_are_recognised_and_read(tmp_path):
    draw(tmp_path / "my pictures" / "1.png", 1)
    (tmp_path / "my pictures" / "captions.token").write_text("1.png\ta red dog\n1.png\t\n")
    form, found = form_at(tmp_path / "my pictures", None, None)
    assert (form, found.why) == ("token_lines", "files .token have lines of a name and a caption")
    reading = read_set("dogs", data_set_of(tmp_path, form, found, "MIT"), tmp_path)
    assert (reading.found, reading.records, reading.tasks["caption"]) == (2, 1, 2)
    assert reading.rejections.first[0]["id"] == "captions.token-2"
