"""The Cauldron's and FineVision's rows: several pairs are turns, and marks of pictures are taken out of the texts."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.data.formats.embedded import picture, write_parquet
from tests.data.formats.official import read_set
from tinygptv.data.recognise import recognise
from tinygptv.data.records import Turn
from tinygptv.ground.errors import DataError

PNG = picture()
IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def row(*pairs, images=({"bytes": PNG, "path": None},), **more):
    texts = [{"user": user, "assistant": assistant, "source": "made"} for user, assistant in pairs]
    return {"images": None if images is None else list(images), "texts": texts, "relevance_min": 4, **more}


@pytest.fixture
def read(tmp_path):
    def make(*rows, **settings):
        write_parquet(tmp_path / "cats.parquet", list(rows), images=IMAGES)
        return read_set(tmp_path, "cauldron", ("cats.parquet",), **{"images": "", **settings})

    return make


def test_pairs_are_turns_of_one_conversation(read):
    (found,), rejected = read(row(("What?", "a cat"), ("Where?", "there")))
    assert rejected == []
    assert found.record.task == "conversation"
    assert found.record.turns == (Turn("What?", "a cat"), Turn("Where?", "there"))
    assert (found.image, found.record.id) == (PNG, "cats.parquet, row 1")


def test_a_task_makes_a_record_of_each_pair(read):
    found, _ = read(row(("What?", "a cat"), ("Where?", "there")), task="vqa")
    assert [item.record.turns for item in found] == [(Turn("What?", "a cat"),), (Turn("Where?", "there"),)]


@pytest.mark.parametrize(
    "mark",
    [
        "<image>",
        "<image_1>",
        "<image1>",
        "<|image|>",
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<image_soft_token>",
    ],
)
def test_marks_of_pictures_are_taken_out(read, mark):
    (found,), rejected = read(row((f"{mark}\nWhat of {mark} is it?", f"a {mark} cat"), ("a < b?", " kept\n")))
    assert rejected == []
    assert found.record.turns == (Turn("What of is it?", "a cat"), Turn("a < b?", " kept\n"))


def test_rows_of_text_alone(read):
    for images in (None, ()):
        (_, found), rejected = read(row(("x", "y")), row(("<image> Hi?", "Ho"), images=images))
        assert (rejected, found.image, found.record.turns) == ([], None, (Turn("Hi?", "Ho"),))


def test_several_pictures(read):
    several = row(("What?", "a cat"), images=[{"bytes": picture(n), "path": None} for n in (1, 2)])
    assert read(several)[1] == [
        {
            "id": "cats.parquet, row 1",
            "reason": "has 2 pictures, and one is the most; `several_images: first` takes the first",
        }
    ]
    assert read(several, several_images="first")[0][0].image == picture(1)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (None, "`texts` must be a list of pairs, not null"),
        ([], "has no question"),
        ([None], "pair 1 must be an object with `user` and `assistant`, not null"),
        ([{"user": "What?", "assistant": None}], "pair 1: `assistant` must be text, not null"),
        ([{"user": None, "assistant": "a"}], "pair 1: `user` must be text, not null"),
        ([{"user": "What?", "assistant": "<image>"}], "the answer is empty"),
        ([{"user": "<image>", "assistant": "a"}], "asks nothing"),
    ],
)
def test_a_row_that_is_no_conversation_says_why(read, texts, words):
    good = row(("What?", "a cat"))
    found, (rejected,) = read(good, {**good, "texts": texts})
    assert len(found) == 1
    assert rejected["id"] == "cats.parquet, row 2"
    assert words in rejected["reason"]


def test_a_file_of_another_form_is_one_line(tmp_path):
    write_parquet(tmp_path / "cats.parquet", [{"image": PNG, "text": "x"}])
    with pytest.raises(DataError, match="has no column `texts` as The Cauldron's files have; say `format: parquet`"):
        read_set(tmp_path, "cauldron", ("cats.parquet",), images="")


def test_it_is_recognised_and_not_as_another(tmp_path):
    write_parquet(tmp_path / "a" / "train-0.parquet", [row(("What?", "a cat"))])
    assert list(recognise(tmp_path / "a")) == ["cauldron"]
    assert "`user` and `assistant` in `texts`" in recognise(tmp_path / "a" / "train-0.parquet")["cauldron"].why
