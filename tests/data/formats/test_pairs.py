"""Pairs of pictures and texts in tables, as people and programs write them."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.formats.official import draw, read_set
from tinygptv.data.records import Turn
from tinygptv.ground.errors import DataError


@pytest.fixture
def read_all(tmp_path):
    """``read_all(text, name=..., **settings)``: what is found in a file of that text, with pictures 1.png and 2.png."""
    for number in (1, 2):
        draw(tmp_path / "images" / f"{number}.png", number)

    def make(text, name="cats.csv", **settings):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return read_set(tmp_path, "pairs", (name,), **settings)

    return make


def said(found):
    """Picture, task and turn of each record."""
    return [(item.image.path.name, item.record.task, item.record.turns[0]) for item in found]


ONE = ("1.png", "caption", Turn("", "a cat"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "image,caption\n1.png,a cat\n"),
        ("a.csv", b"\xef\xbb\xbfimage,caption\r\n1.png,a cat\r\n"),
        ("a.csv", "image;caption\n1.png;a cat\n"),
        ("a.csv", "sep=;\r\nimage;caption\r\n1.png;a cat"),
        ("a.csv", "\n\nimage,caption\n\n1.png,a cat\n,\n"),
        ("a.csv", ",Image Path,Caption,score\n0,1.png,a cat,0.5\n"),
        ("a.csv", "file_name\ttext\n1.png\ta cat\n"),
        ("a.tsv", "file_name\ttext\n1.png\ta cat\n"),
        ("a.CSV", "1.png,a cat\n"),
        ("a.csv", "a cat;1.png\n"),
        ("a.csv", '"image","caption"\r"1.png","a cat"\r'),
        ("a.csv", "image|caption\n./1.png|a cat"),
        ("a.json", '[{"image": "1.png", "text": "a cat"}]'),
        ("a.json", '[{"images": ["1.png"], "caption": ["a cat"], "width": 8}]'),
        ("a.jsonl", '{"filename": "1.png", "description": "a cat"}\n'),
        ("a.ndjson", '{"image_path": "1.png", "text": "a cat", "score": NaN}\n'),
    ],
)
def test_ways_to_write_one_pair(read_all, name, text):
    found, rejected = read_all(text, name)
    assert (said(found), rejected) == ([ONE], [])


def test_parquet(read_all, tmp_path):
    pq.write_table(pa.table({"image": ["1.png", None], "caption": ["a cat", "none"]}), tmp_path / "made")
    found, rejected = read_all((tmp_path / "made").read_bytes(), "a.parquet")
    assert said(found) == [ONE]
    assert rejected == [{"id": "a.parquet, row 2", "reason": "names no picture: `image` is empty"}]


def test_texts_with_quotes_commas_line_breaks_and_marks_stay_as_they_are(read_all):
    texts = [
        'a "big", old cat',
        "two\nlines\r\nand ;",
        " tab\there ",
        "###<image><|endoftext|>\u202eend",
        "x" * 200_000,
    ]
    rows = ["image,caption", *('1.png,"' + text.replace('"', '""') + '"' for text in texts), "2.png,last"]
    found, rejected = read_all("\n".join(rows))
    assert [item.record.turns[0].answer for item in found] == [*texts, "last"]
    assert rejected == []


def test_questions_and_answers(read_all):
    found, _ = read_all("image,question,answer,split\n1.png,What?,4,train\n2.png,Where?,there,validation\n")
    assert said(found) == [("1.png", "vqa", Turn("What?", "4")), ("2.png", "vqa", Turn("Where?", "there"))]
    assert [item.split for item in found] == ["train", "val"]
    found, _ = read_all("1.png,What?,a cat\n")
    assert said(found) == [("1.png", "vqa", Turn("What?", "a cat"))]
    found, _ = read_all(
        json.dumps([{"image": "1.png", "question": "How many?", "answer": [4, "four", "four"]}]), "a.json"
    )
    assert found[0].record.turns == (Turn("How many?", "four", (("4", 1.0), ("four", 2.0))),)


def test_classes(read_all):
    found, _ = read_all("image,label\n1.png,cat\n")
    assert said(found) == [("1.png", "vqa", Turn("What is shown in the image?", "cat"))]


def test_tasks(read_all):
    found, _ = read_all("image,question,answer\n1.png,Tell me,a cat\n", task="conversation")
    assert said(found) == [("1.png", "conversation", Turn("Tell me", "a cat"))]
    _, (rejected,) = read_all("image,caption\n1.png,a cat\n", task="vqa")
    assert rejected["reason"] == "has no question, and the task vqa asks one"


def test_columns_that_the_profile_names(read_all):
    text = "pic,image,alt,who\n1.png,9.png,a cat,x-1\n"
    found, _ = read_all(text, columns={"image": "pic", "answer": "alt", "id": "who"})
    assert said(found) == [ONE]
    assert found[0].record.id == "x-1"
    with pytest.raises(DataError, match=r"cats\.csv has no column 'foto'; there are 'pic', 'image'.*correct `columns"):
        read_all(text, columns={"image": "foto"})
    _, (rejected,) = read_all('[{"a": "1.png"}]', "a.json", columns={"image": "foto"})
    assert "it has no column 'foto'" in rejected["reason"]


@pytest.mark.parametrize("empty", ["", " ", "NaN", "nan", "null", "<NA>"])
def test_empty_cells_are_counted_and_told(read_all, empty):
    found, rejected = read_all(f"image,caption\n1.png,{empty}\n{empty},a cat\n2.png\n1.png,None\n")
    assert said(found) == [("1.png", "caption", Turn("", "None"))]
    assert [item["id"] for item in rejected] == ["cats.csv, line 2", "cats.csv, line 3", "cats.csv, line 4"]
    assert [item["reason"] for item in rejected] == [
        "`caption` is empty: there is nothing to learn",
        "names no picture: `image` is empty",
        "`caption` is empty: there is nothing to learn",
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1.png,a cat, sitting", "has 3 cells, and the header 2; put a text with ',' into double quotes"),
        ("3.png,a cat", "its picture '3.png' is not in the folder images"),
        ("../1.png,a cat", "lies outside of the folder images; name a file below it, or set `outside: allow`"),
        ("https://host/1.png,a cat", "its picture is an address"),
    ],
)
def test_rows_that_are_left_out(read_all, row, words):
    found, (rejected,) = read_all(f"image,caption\n1.png,a dog\n{row}\n")
    assert len(found) == 1
    assert rejected["id"] == "cats.csv, line 3"
    assert words in rejected["reason"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("1.png", "a record is an object with a picture and a text, not text"),
        ({"image": "1.png"}, "it has no column of answers or captions by a usual name"),
        ({"caption": "a cat"}, "it has no column of pictures by a usual name"),
        ({"image": "1.png", "caption": {"en": "a cat"}}, "`caption` must be text, not an object"),
        ({"image": "1.png", "caption": True}, "`caption` must be text, not true or false"),
        ({"image": "1.png", "caption": []}, "`caption` has no text"),
        ({"image": ["1.png", "2.png"], "caption": "a"}, "has 2 pictures"),
        ({"image": {"path": "1.png"}, "caption": "a"}, "must be the name of a file, not an object"),
        ({"image": "1.png", "caption": "a", "split": "restval"}, "its `split` is 'restval'"),
    ],
)
def test_entries_that_are_left_out(read_all, entry, words):
    found, (rejected,) = read_all(json.dumps([entry]), "a.json")
    assert (found, rejected["id"]) == ([], "a.json, entry 1")
    assert words in rejected["reason"]


def test_the_same_row_twice_is_one_and_ids_repeat(read_all):
    found, rejected = read_all("id,image,caption\n7,1.png,a cat\n7,1.png,a cat\n7,2.png,a dog\n")
    assert [item.record.id for item in found] == ["7", "7#2"]
    assert rejected == [{"id": "7", "reason": "the same record stands twice"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        ("caption\na cat\n", "has one column; a picture and a text are the least"),
        ("1.png\n2.png\n", "has one column"),
        ("a,b\n1.png,a cat\n", "has no column of pictures by a usual name; there are 'a', 'b': say which it is"),
        ("image,b\n1.png,a cat\n", "has no column of answers or captions"),
        ("image,caption,caption\n1.png,a,b\n", "has two columns 'caption'; rename one"),
        ("1.png,a,b,c\n", "has 4 columns without names; write a first line that names them"),
        ('image,caption\n1.png,"a cat\n2.png,a dog\n', "line 2: a text in double quotes does not end as it must"),
        ('image,caption\n1.png,"a" cat\n', "line 2: a text in double quotes does not end as it must"),
        ("image,caption\n1.png,a caf\u00e9\n".encode("latin-1"), "is not UTF-8 text"),
        ("image,caption\n1.png,a cat\n".encode("utf-16"), "is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(read_all, text, words):
    with pytest.raises(DataError) as told:
        read_all(text)
    assert words in str(told.value)
    assert "cats.csv" in str(told.value)


def test_files_of_other_endings_are_not_looked_at(read_all, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text("image,caption\n1.png,a cat\n")
    (tmp_path / "set" / "test.csv").write_text("image,caption\n2.png,a dog\n")
    (tmp_path / "set" / "README.md").write_text("# cats")
    found, rejected = read_set(tmp_path, "pairs", ("set",))
    assert [(item.record.turns[0].answer, item.split) for item in found] == [("a dog", "test"), ("a cat", "train")]
    assert rejected == []
    with pytest.raises(DataError, match=r"none of its `files` is one of \.csv, "):
        read_all("# cats", "README.md")
