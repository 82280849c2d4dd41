"""WebDataset's tars as people make them: mixed endings, dots in keys, folders, members in any order."""

from __future__ import annotations

import json

import pytest

from tests.data.formats.embedded import picture, write_tar
from tests.data.formats.official import read_set
from tinygptv.data.recognise import recognise
from tinygptv.data.records import Turn
from tinygptv.ground.errors import DataError

PNG, JPG, WEBP = picture(1), picture(2, "JPEG"), picture(3, "WEBP")
TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a cat"}]


@pytest.fixture
def read(tmp_path):
    def make(members, files=("cats.tar",), **settings):
        write_tar(tmp_path / "cats.tar", members)
        return read_set(tmp_path, "webdataset", files, **{"images": "", **settings})

    return make


def captions(found):
    return [(item.record.id, item.record.task, item.record.turns[0].answer) for item in found]


def test_endings_are_mixed_in_one_set(read, tmp_path):
    pictures = {"1.jpg": JPG, "2.jpeg": JPG, "3.png": PNG, "4.webp": WEBP, "5.JPG": JPG}
    members = {**pictures, **{f"{number}.txt": f"cat {number}\n" for number in range(1, 6)}}
    found, rejected = read(members)
    assert rejected == []
    assert captions(found) == [(str(number), "caption", f"cat {number}") for number in range(1, 6)]
    assert [item.image.read() for item in found] == list(pictures.values())
    assert {item.image.path for item in found} == {tmp_path / "cats.tar"}


def test_dots_folders_and_any_order(read):
    members = {
        "b/img.2024.01.txt": "second",
        "a/img.2024.01.jpg": JPG,
        "b/img.2024.01.png": PNG,
        "a/img.2024.02.png": PNG,
        "a/img.2024.02.txt": "third",
        "a/img.2024.01.txt": "first",
    }
    found, rejected = read(members)
    assert rejected == []
    assert captions(found) == [
        ("b/img.2024.01", "caption", "second"),
        ("a/img.2024.01", "caption", "first"),
        ("a/img.2024.02", "caption", "third"),
    ]


@pytest.mark.parametrize(
    ("content", "task", "turn"),
    [
        ({"caption": "a cat", "url": "x"}, "caption", Turn("", "a cat")),
        ({"question": "What?", "answer": "a cat"}, "vqa", Turn("What?", "a cat")),
        ({"conversations": TALK, "id": 7}, "conversation", Turn("What?", "a cat")),
        ({"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "a cat"}]},
         "conversation", Turn("What?", "a cat")),
        (TALK, "conversation", Turn("What?", "a cat")),
    ],
)  # fmt: skip
def test_json_is_a_caption_a_question_or_a_conversation(read, content, task, turn):
    (found,), rejected = read({"1.png": PNG, "1.json": json.dumps(content)})
    assert rejected == []
    assert (found.record.task, found.record.turns) == (task, (turn,))


def test_text_and_json_together(read):
    both = {"1.png": PNG, "1.txt": "the text", "1.json": json.dumps({"caption": "other", "width": 3})}
    assert captions(read(both)[0]) == [("1", "caption", "the text")]
    asked = {"1.png": PNG, "1.txt": "the text", "1.json": json.dumps({"question": "What?", "answer": "a cat"})}
    assert captions(read(asked)[0]) == [("1", "vqa", "a cat")]
    (found,), _ = read({"1.png": PNG, "1.json": json.dumps({"note": "a cat"})}, columns={"answer": "note"})
    assert found.record.turns == (Turn("", "a cat"),)


def test_what_lies_beside_a_sample_is_passed_over(read):
    members = {"1.png": PNG, "1.txt": "a cat", "1.cls": "3", "1.seg.png": PNG, "readme.md": "x", "._1.png": b""}
    found, rejected = read(members)
    assert (captions(found), rejected) == ([("1", "caption", "a cat")], [])


def test_a_conversation_without_a_picture(read):
    talk = json.dumps({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]})
    (found,), rejected = read({"1.json": talk})
    assert (found.image, rejected) == (None, [])


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"1.png": PNG}, "has a picture, and no text: neither a .txt nor a caption in a .json"),
        ({"1.png": PNG, "1.json": "{}"}, "has a picture, and no text"),
        ({"1.png": PNG, "1.txt": " \n"}, "`.txt` is empty"),
        ({"1.png": PNG, "1.txt": b"\xff\xfe"}, "its .txt is not UTF-8 text"),
        ({"1.png": PNG, "1.json": "{"}, "its .json is not valid JSON"),
        ({"1.png": PNG, "1.json": "3"}, "its .json must be an object, not a number"),
        ({"1.png": PNG, "1.json": json.dumps({"caption": 3.5, "answer": True})}, "`answer` must be text"),
        ({"1.png": PNG, "1.json": json.dumps({"conversations": TALK[:1]})}, "the last question has no answer"),
        ({"1.png": PNG, "1.jpg": JPG, "1.txt": "x"}, "has 2 pictures"),
        ({"1.png": PNG, "1.json": json.dumps({"caption": "x"}), "1.txt": None}, "its .txt is a link"),
        ({"1.png": None, "1.txt": "x"}, "its picture is a link"),
        ({"1.txt": "x"}, "has no picture"),
        ({"1.gif": b"GIF", "1.txt": "x"}, "its picture is a .gif; PNG, JPEG and WebP are known"),
        ({"1.json": json.dumps({"conversations": TALK})}, "a question has <image>"),
    ],
)
def test_a_sample_that_is_none_says_why(read, members, words):
    found, (rejected,) = read(members)
    assert (found, rejected["id"]) == ([], "1")
    assert words in rejected["reason"]


def test_names_of_tars_and_folders_say_splits(read, tmp_path):
    for name in ("train-000.tar", "val-000.tar", "test/000.tar"):
        write_tar(tmp_path / "data" / name, {"0001.png": picture(len(name)), "0001.txt": name})
    found, _ = read({}, files=("data",))
    assert [(item.record.turns[0].answer, item.split) for item in found] == [
        ("test/000.tar", "test"),
        ("train-000.tar", "train"),
        ("val-000.tar", "val"),
    ]
    assert [item.record.id for item in found] == ["0001", "0001#2", "0001#3"]


def test_a_damaged_or_compressed_tar_is_one_line(read, tmp_path):
    path = write_tar(tmp_path / "bad.tar", {"1.png": PNG, "1.txt": "x"})
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"bad\.tar is damaged, compressed or no tar"):
        read({}, files=("bad.tar",))
    path.rename(tmp_path / "bad.tar.gz")
    with pytest.raises(DataError, match="is compressed; unpack it"):
        read({}, files=("bad.tar.gz",))


def test_tars_of_this_project_are_not_these(small_shards):
    assert list(recognise(small_shards)) == ["records"]


def test_it_is_recognised(tmp_path):
    write_tar(tmp_path / "a" / "0.tar", {"1.jpg": JPG, "1.json": json.dumps({"caption": "x"})})
    assert list(recognise(tmp_path / "a")) == ["webdataset"]
    assert recognise(tmp_path / "a" / "0.tar")["webdataset"].why == "0.tar is a tar with samples of .jpg, .json"
    write_tar(tmp_path / "b" / "0.tar", {"1.bin": b"x"})
    assert recognise(tmp_path / "b") == {}
    (tmp_path / "b" / "0.tar").write_bytes(b"x" * 600)
    assert recognise(tmp_path / "b") == {}
