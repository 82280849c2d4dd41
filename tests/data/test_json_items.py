"""JSON of any size: entry by entry, and a place for what is none."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from tinygptv.data import json_items
from tinygptv.data.json_items import read_items, read_members
from tinygptv.ground.errors import DataError

VALUES = [{"a": 'x\n}]é"\\'}, {}, [], [1, [2]], "text, ]", 12, -1.5e3, True, None, {"deep": [{"er": ["猫"]}]}]


@pytest.fixture(params=[1, 3, 7, 1 << 20])
def chunk(request, monkeypatch):
    """Parts of a few characters show what lies across a border."""
    monkeypatch.setattr(json_items, "_CHUNK", request.param)


def contents(path):
    return [item.content for item in read_items(path)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \n\t"])
def test_a_list(tmp_path, chunk, indent, start):
    path = tmp_path / "a.json"
    path.write_bytes(start + json.dumps(VALUES, indent=indent, ensure_ascii=False).encode() + b"\r\n")
    assert contents(path) == VALUES
    assert [item.place for item in read_items(path)][:2] == ["a.json, entry 1", "a.json, entry 2"]


@pytest.mark.parametrize("text", ["[]", " [ ] ", "[\n]\n"])
def test_an_empty_list(tmp_path, chunk, text):
    (tmp_path / "a.json").write_text(text)
    assert contents(tmp_path / "a.json") == []


def test_lines_and_those_that_are_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2\n{"a": "\xff"}\n[3]\n{"a": 4}')
    items = list(read_items(path))
    assert [(item.place[-1:], item.content) for item in items if not item.problem] == [
        ("1", {"a": 1}),
        ("6", [3]),
        ("7", {"a": 4}),
    ]
    assert [item.place for item in items if item.problem] == ["a.jsonl, line 4", "a.jsonl, line 5"]
    assert all("is not valid JSON" in item.problem for item in items if item.problem)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[\n {"a": 1},\n {"a": }\n]', "line 3, column 8: not valid JSON: Expecting value"),
        ('[{"a": 1}\n {"a": 2}]', "line 2, column 2: not valid JSON: no comma and no end"),
        ('[{"a": 1},\n]', "line 2, column 1: not valid JSON: Expecting value"),
        ('[{"a": 1}', "line 1, column 10: not valid"),
        ('[\n\n{"a": "b', "line 3, column 7: not valid JSON: Unterminated string$"),
        ('[{"a": 1}]\n\nx', "line 3, column 1: not valid JSON: something follows"),
        ("[{'a': 1}]", "line 1, column 3: not valid"),
        ("[" * 100_000, "recursion"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("id,image\n", "begins with 'i'"),
        ('{\n "a": 1\n}', "line 1 is not valid JSON"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(tmp_path, chunk, text, words):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words.replace("'", ".")) as caught:
        contents(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_member_by_member(tmp_path, chunk, indent):
    path = tmp_path / "a.json"
    whole = {"info": {"year": 2014}, "é, ]": VALUES, "none": [], "one": [[1]], "text": "[", "": 3}
    path.write_text(" " + json.dumps(whole, indent=indent, ensure_ascii=False) + "\n")
    found = [(name, item.place, item.content) for name, item in read_members(path)]
    assert found == [
        ("info", "a.json, info", {"year": 2014}),
        *(("é, ]", f"a.json, é, ] {number}", value) for number, value in enumerate(VALUES, start=1)),
        ("one", "a.json, one 1", [1]),
        ("text", "a.json, text", "["),
        ("", "a.json, ", 3),
    ]
    path.write_text("{ }")
    assert list(read_members(path)) == []
    path.write_text('{"a": 1, "a": 2}')
    assert [item.content for _, item in read_members(path)] == [1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": [1, 2\n}', "line 2, column 1: not valid JSON: no comma and no end of the list"),
        ('{"a": 1\n "b": 2}', "line 2, column 2: not valid JSON: no comma and no end of the object"),
        ('{"a" 1}', "line 1, column 6: not valid JSON: no colon"),
        ("{1: 1}", "line 1, column 3: not valid JSON: a member must begin with its name"),
        ('{"a": 1,}', "line 1, column 9: not valid JSON: Expecting value"),
        ('{"a": 1}\n{"a": 2}', "line 2, column 1: not valid JSON: something follows the object"),
        ('{"a": [{"b": ', "not valid JSON"),
        ("[1]", "begins with '\\['"),
        ("", "is empty"),
    ],
)
def test_what_is_no_object_is_told_with_its_place(tmp_path, chunk, text, words):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        list(read_members(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ['[{"a": "é"}]'.encode("utf-16"), b'[\n{"a": "\xe9"}]'])
def test_other_encodings_are_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match="is not UTF-8 text"):
        contents(tmp_path / "a.json")


def test_an_entry_without_end_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(json_items, "MOST", 1000)
    monkeypatch.setattr(json_items, "_CHUNK", 100)
    (tmp_path / "a.json").write_text('[{"a": "' + "x" * 100_000 + '"}]')
    with pytest.raises(DataError, match="Unterminated string"):
        contents(tmp_path / "a.json")
    (tmp_path / "a.jsonl").write_text('{"a": "' + "x" * 100_000 + '"}')
    with pytest.raises(DataError, match=r"line 1 has more than 1,000 bytes"):
        contents(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("start", "between", "end", "read"),
    [("[", ",\n", "]", read_items), ("", "\n", "", read_items), ('{"a": [', ",\n", "]}", read_members)],
)
def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch, start, between, end, read):
    monkeypatch.setattr(json_items, "_CHUNK", 1 << 16)
    path = tmp_path / "a.json"
    with path.open("w") as file:
        file.write(start)
        for number in range(30_000):
            file.write(between * bool(number) + json.dumps({"id": number, "text": "x" * 200}))
        file.write(end)
    tracemalloc.start()
    assert sum(1 for _ in read(path)) == 30_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2
