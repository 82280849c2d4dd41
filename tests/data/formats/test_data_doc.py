"""The example of docs/data.md is a form."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from tinygptv.config import DataSet
from tinygptv.config.formats import FORMATS
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.recognise import Look
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import open_source, raw_files
from tinygptv.ground.files import sha256_file

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text()


def test_the_example_reads_lines_of_pictures_and_captions(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    defined = {}
    exec(example, defined)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.png")
    (tmp_path / "cats.tsv").write_text("1.png\ta cat\n2.png\tanother\n")
    settings = DataSet(format="llava", files=("cats.tsv",), images="images", licence="MIT")
    files = [RawFile(name, path.stat().st_size, sha256_file(path)) for name, path in raw_files(settings, tmp_path)]
    write_manifest(tmp_path / "manifest", files)
    found, rejected = defined["read"](open_source("cats", settings, tmp_path, tmp_path / "manifest"))
    assert found.record == Record("cats.tsv-1", "caption", (Turn("", "a cat"),))
    assert rejected == {"id": "cats.tsv-2", "reason": "its picture '2.png' is not there"}
    assert defined["recognise"](Look(tmp_path, None)) is None
    (tmp_path / "cats.token").write_text("1.png\ta cat\n")
    assert defined["recognise"](Look(tmp_path, None)).files == (tmp_path / "cats.token",)


def test_every_form_has_its_section():
    assert [name for name in FORMATS if f"\n## `{name}`\n" not in PAGE] == []
