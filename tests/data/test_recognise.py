"""What lies at a path is looked at without reading it whole, and forms say whether they would read it."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinygptv.data import recognise as recognising
from tinygptv.data.first_entries import COUNT, first_entries
from tinygptv.data.recognise import Look, Recognised, recognise
from tinygptv.ground.errors import DataError

ROWS = [{"id": str(number), "text": f"a cat, number {number}"} for number in range(100)]


def written(folder, name):
    path = folder / name
    if name.endswith("jsonl"):
        path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    elif name.endswith("json"):
        path.write_text(json.dumps(ROWS))
    elif name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        mark = "\t" if name.endswith("tsv") else ","
        lines = [mark.join(("id", "text")), *(mark.join((row["id"], f'"{row["text"]}"')) for row in ROWS)]
        path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet", "a.csv", "A.TSV".lower()])
def test_the_first_entries_of_a_file(name, tmp_path):
    assert first_entries(written(tmp_path, name)) == ROWS[:COUNT]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", b"[{"), ("a.json", b""), ("a.parquet", b"PAR1"), ("a.csv", b"a,b\n\xff\xfe"), ("a.txt", b"[1]")],
)
def test_a_file_that_cannot_be_read_has_none(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert first_entries(tmp_path / name) == []


def test_names_below_a_folder_are_sorted_bounded_and_not_hidden(tmp_path, monkeypatch):
    for name in ("b/2.jpg", "a.JSON", ".hidden/x.json", "b/.y", "c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("[]")
    assert Look(tmp_path, None).names == ("a.JSON", "b/2.jpg", "c.jpg")
    assert Look(tmp_path, None).named(".json") == ("a.JSON",)
    assert Look(tmp_path / "a.JSON", None).names == ("a.JSON",)
    monkeypatch.setattr(recognising, "MOST_NAMES", 2)
    (tmp_path / "z.csv").touch()
    assert Look(tmp_path, None).names == ("a.JSON", "z.csv")


def test_a_file_is_read_once_whoever_asks(tmp_path):
    look = Look(tmp_path, None)
    path = written(tmp_path, "a.json")
    assert look.entries("a.json") == ROWS[:COUNT]
    path.unlink()
    assert look.entries("a.json") == ROWS[:COUNT]


def test_each_form_is_asked_and_those_that_would_read_it_are_named(tmp_path, monkeypatch):
    def of(name, answer):
        module = ModuleType(name)
        if answer is not None:
            module.recognise = answer
        monkeypatch.setitem(sys.modules, name, module)
        return name

    yes = Recognised(why="its entries have `text`")
    forms = {
        "no": of("form_no", lambda look: None),
        "yes": of("form_yes", lambda look: yes if look.entries(look.names[0])[0].keys() == {"id", "text"} else None),
        "silent": of("form_silent", None),
    }
    monkeypatch.setattr(recognising, "FORMATS", forms)
    assert recognise(written(tmp_path, "a.json")) == {"yes": yes}
    with pytest.raises(DataError, match="no\\.json does not exist; name the file or folder"):
        recognise(tmp_path / "no.json")
