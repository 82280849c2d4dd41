"""Parquet with pictures as people write it: every quirk is a record, or a row that says what is wrong with it."""

from __future__ import annotations

import base64

import pytest

from tests.data.formats.embedded import picture, write_parquet
from tests.data.formats.official import draw, read_set
from tinygptv.data.recognise import recognise
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import ImageFile
from tinygptv.ground.errors import DataError

PNG = picture()
CAT = Turn("What?", "a cat")


@pytest.fixture
def read(tmp_path):
    """``read(*rows, **settings)``: what is found in a file of these rows; pictures may lie below ``images``."""

    def make(*rows, files=("cats.parquet",), types=None, **settings):
        for number, name in enumerate(("a/1.png", "b/2.png", "a/same.png", "b/same.png")):
            draw(tmp_path / "images" / name, number)
        write_parquet(tmp_path / "cats.parquet", list(rows), **(types or {}))
        return read_set(tmp_path, "parquet", files, **settings)

    return make


@pytest.fixture
def refused(read):
    """``refused(row, ...)``: the reason why the one row is none; its id is its place."""

    def make(row, **settings):
        found, (rejection,) = read(row, **settings)
        assert (found, rejection["id"]) == ([], "cats.parquet, row 1")
        return rejection["reason"]

    return make


@pytest.mark.parametrize(
    "image",
    [
        {"bytes": PNG, "path": "anything.png"},
        {"bytes": PNG, "path": None},
        [{"bytes": PNG, "path": None}],
        PNG,
        [PNG],
        base64.b64encode(PNG).decode(),
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
    ],
)
def test_embedded_pictures(read, image):
    (found,), rejected = read({"image": image, "question": "What?", "answer": "a cat"}, images="")
    assert rejected == []
    assert found.image == PNG
    assert found.record == Record("cats.parquet, row 1", "vqa", (CAT,))


@pytest.mark.parametrize(
    "path", ["a/1.png", "1.png", "/home/else/where/1.png", "C:\\data\\1.png", "../1.png", "./a/1.png"]
)
def test_a_picture_that_is_only_named_is_found_below_images(read, tmp_path, path):
    for image in ({"bytes": None, "path": path}, path):
        (found,), rejected = read({"image": image, "caption": "a cat"})
        assert rejected == []
        assert isinstance(found.image, ImageFile)
        assert found.image.path == tmp_path / "images" / "a" / "1.png"


def test_a_name_that_several_files_have_or_none_is_told(refused):
    assert "several files below `images` are called 'same.png'" in refused({"image": "x/same.png", "text": "a"})
    assert "'none.png' is not in the folder images" in refused({"image": "none.png", "text": "a"})
    assert "has no folder `images`" in refused({"image": "1.png", "text": "a"}, images="")
    assert "is an address" in refused({"image": "https://host/1.png", "text": "a"})


@pytest.mark.parametrize(
    "cell",
    [str({"bytes": PNG, "path": None}), str(PNG), "<PIL.PngImagePlugin.PngImageFile image mode=RGB size=8x8 at 0x7f>"],
)
def test_cells_that_became_text_are_told_row_by_row(read, cell):
    rows = [{"image": cell, "text": f"cat {number}"} for number in range(3)]
    found, rejected = read(*rows)
    assert found == []
    assert [one["id"] for one in rejected] == [f"cats.parquet, row {number}" for number in (1, 2, 3)]
    for one in rejected:
        assert "the cells were turned into text when the file was written; write the bytes" in one["reason"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "its bytes are no PNG, JPEG or WebP picture: there are none"),
        (b"GIF89a....", "it begins with b'GIF89a..'"),
        ({"bytes": b"\0" * 40, "path": "1.png"}, "it begins with b'\\x00"),
        ("data:image/png;base64,AAA$", "`image` is damaged"),
        (3, "`image` must be a picture: its bytes, {bytes, path} or a name, not a number"),
        ([{"bytes": PNG, "path": None}] * 2, "has 2 pictures, and one is the most"),
    ],
)
def test_a_cell_that_is_no_picture_is_a_row_with_a_reason(refused, image, words):
    assert words in refused({"image": image, "text": "a"})


def test_the_first_of_several_pictures_where_the_profile_says_so(read):
    images = [{"bytes": picture(number), "path": None} for number in (5, 6)]
    (found,), _ = read({"images": images, "text": "a"}, several_images="first")
    assert found.image == picture(5)


def test_a_row_without_a_picture(read):
    for empty in ({"bytes": None, "path": None}, None):
        rows = ({"image": {"bytes": PNG, "path": None}, "text": "a"}, {"image": empty, "text": "a"})
        found, rejected = read(*rows)
        assert len(found) == 1
        assert rejected == [{"id": "cats.parquet, row 2", "reason": "has no question, and no picture"}]
    (_, found), _ = read(
        {"image": PNG, "question": "What?", "answer": "a"}, {"image": None, "question": "Hi?", "answer": "Ho"}
    )
    assert (found.image, found.record.task) == (None, "conversation")


def test_ids_columns_and_splits(read):
    rows = [
        {"key": 7, "pic": PNG, "note": "a cat", "part": "train"},
        {"key": 7, "pic": PNG, "note": "a dog", "part": "validation"},
        {"key": 8, "pic": PNG, "note": "a dog", "part": "mine"},
    ]
    columns = {"image": "pic", "answer": "note", "split": "part"}
    found, rejected = read(*rows, columns=columns, task="caption")
    assert [(item.record.id, item.record.turns[0].answer, item.split) for item in found] == [
        ("7", "a cat", "train"),
        ("7#2", "a dog", "val"),
    ]
    assert rejected == [{"id": "8", "reason": "its `part` is 'mine'; splits are train, val and test"}]


def test_files_say_splits(read, tmp_path):
    for name in ("train-0.parquet", "test-0.parquet"):
        write_parquet(tmp_path / "data" / name, [{"image": PNG, "text": name}])
    (tmp_path / "data" / "README.md").write_text("cats")
    found, rejected = read({"image": PNG, "text": "x"}, files=("data",))
    assert [(item.record.id, item.split) for item in found] == [
        ("test-0.parquet, row 1", "test"),
        ("train-0.parquet, row 1", "train"),
    ]
    assert rejected == []


@pytest.mark.parametrize(
    "said",
    [
        {"conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a cat"}]},
        {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "a cat"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]},
            ]
        },
    ],
)
def test_rows_of_conversations(read, said):
    (found,), rejected = read({"images": [{"bytes": PNG, "path": None}], **said})
    assert rejected == []
    assert (found.record.task, found.record.turns) == ("conversation", (CAT,))


def test_the_same_row_twice_is_refused(read):
    found, rejected = read(*[{"id": "a", "image": PNG, "text": "a"}] * 2, {"id": "a", "image": picture(1), "text": "a"})
    assert [item.record.id for item in found] == ["a", "a#2"]
    assert rejected == [{"id": "a", "reason": "the same record stands twice"}]


def test_a_file_without_the_columns_is_one_line(read):
    for row in ({"picture": PNG, "notes": "x"}, {"notes": PNG, "caption": "x"}):
        with pytest.raises(DataError, match=r"cats\.parquet has no column of .* there are .*columns"):
            read(row)
    with pytest.raises(DataError, match="has no column 'note'"):
        read({"image": PNG, "text": "x"}, columns={"answer": "note"})


def test_a_damaged_file_is_one_line(read, tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(DataError, match=r"bad\.parquet is damaged or no parquet"):
        read({"image": PNG, "text": "x"}, files=("bad.parquet",))
    with pytest.raises(DataError, match=r"none of its `files` is one of \.parquet"):
        read({"image": PNG, "text": "x"}, files=("images",))


def test_it_is_recognised(tmp_path):
    path = write_parquet(tmp_path / "cats.parquet", [{"Image": PNG, "caption": "x", "id": 1}])
    assert recognise(path)["parquet"].why == "cats.parquet is parquet with pictures in `Image` and texts in `caption`"
    assert list(recognise(tmp_path)) == ["parquet"]
    draw(tmp_path / "folder" / "1.png")
    write_parquet(tmp_path / "folder" / "metadata.parquet", [{"file_name": "1.png", "text": "x"}])
    assert list(recognise(tmp_path / "folder")) == ["imagefolder"]
    assert "parquet" not in recognise(write_parquet(tmp_path / "other.parquet", [{"a": 1, "caption": "x"}]))
