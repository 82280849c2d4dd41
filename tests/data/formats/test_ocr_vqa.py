"""OCR-VQA's object of books: every question is a record, covers that are missing are counted."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tinygptv.data.records import Record, Turn
from tinygptv.ground.errors import DataError

ASKED = ["Who wrote this book?", "What is the title of this book?"]
SAID = ["Sandra Boynton", "Mom's Family Wall Calendar 2016"]


def book(split=1, **fields):
    """A member of ``dataset.json``."""
    known = {
        "imageURL": "http://ecx.images-amazon.com/images/I/61Y5cOdHJbL.jpg",
        "questions": ASKED,
        "answers": SAID,
        "title": SAID[1],
        "authorName": SAID[0],
        "genre": "Calendars",
        "split": split,
    }
    return {**known, **fields}


@pytest.fixture
def read(tmp_path):
    """``read(books, covers, **settings)``: what is found in a file, with covers of these names."""

    def make(books, covers=("0761183272.jpg",), **settings):
        (tmp_path / "images").mkdir(exist_ok=True)
        for name in covers:
            draw(tmp_path / "images" / name)
        write_json(tmp_path / "dataset.json", books)
        return read_set(tmp_path, "ocr_vqa", files=("dataset.json",), **settings)

    return make


def test_every_question_of_a_book_is_a_record(read):
    found, rejected = read({"0761183272": book()})
    assert [item.record for item in found] == [
        Record("0761183272-1", "vqa", (Turn(ASKED[0], SAID[0]),)),
        Record("0761183272-2", "vqa", (Turn(ASKED[1], SAID[1]),)),
    ]
    assert {item.image.path.name for item in found} == {"0761183272.jpg"}
    assert rejected == []


def test_books_have_their_splits_or_the_part_is_read(read):
    books = {"1": book(1), "2": book(2), "3": book(3)}
    covers = [f"{name}.jpg" for name in books]
    found, _ = read(books, covers)
    assert [(item.record.id, item.split) for item in found[::2]] == [("1-1", "train"), ("2-1", "val"), ("3-1", "test")]
    found, rejected = read(books, covers, part="train")
    assert [(item.record.id, item.split) for item in found] == [("1-1", ""), ("1-2", "")]
    assert rejected == []


@pytest.mark.parametrize(
    ("address", "cover"),
    [
        ("http://x/I/51.gif?size=2", "1.gif"),
        ("http://x/I/51.png", "1.png"),
        ("http://x/I/51.png", "1.jpg"),
        ("http://x/I/51", "1.jpg"),
    ],
)
def test_a_cover_has_the_ending_of_its_address_or_is_a_jpg(read, address, cover):
    found, _ = read({"1": book(imageURL=address)}, [cover])
    assert {item.image.path.name for item in found} == {cover}


def test_questions_of_a_cover_that_is_missing_are_counted_one_by_one(read):
    found, rejected = read({"1": book(), "0761183272": book()})
    assert len(found) == 2
    assert [item["id"] for item in rejected] == ["1-1", "1-2"]
    assert all("its image '1.jpg' is missing below" in item["reason"] for item in rejected)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("text", "is no object"),
        (book(split=4), "`split` must be 1 (train), 2 (val) or 3 (test), not 4"),
        (book(split="train"), "`split` must be a whole number, not 'train'"),
        (book(questions=ASKED[:1]), "has 1 questions and 2 answers"),
        (book(answers=None), "`answers` must be a list, not 'None'"),
        (book(answers=["a", 3]), "a question or an answer is no text"),
        (book(imageURL=None), "`imageURL` must be text"),
    ],
)
def test_a_broken_book_is_left_out_with_a_reason(read, broken, reason):
    found, rejected = read({"1": broken, "0761183272": book()})
    assert len(found) == 2
    assert rejected == [{"id": "dataset.json, 1", "reason": rejected[0]["reason"]}]
    assert reason in rejected[0]["reason"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("train", "no book is of the split train, but of test, val"),
        ("dev", "there is no part dev; there are train"),
    ],
)
def test_a_part_that_is_not_there_is_told(read, part, words):
    with pytest.raises(DataError, match=words):
        read({"1": book(3), "2": book(2)}, part=part)


def test_a_list_is_told_to_be_none(read):
    with pytest.raises(DataError, match=r"dataset\.json begins with '\[': it must be a JSON object"):
        read([book()])
