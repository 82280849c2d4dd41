"""VQA's two files: told apart by what they hold, joined by id in any order, and what is wrong with them in one line."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.data.formats.vqa_files import annotation, annotations_file, question, questions_file, write
from tinygptv.config import DataSet
from tinygptv.data import json_items
from tinygptv.data.formats import vqa
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.source import open_source, raw_files
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import sha256_file

ANSWERS = ["cat"] * 6 + ["dog"] * 3 + [" "]


def test_both_files_in_any_order(tmp_path):
    questions = questions_file(tmp_path, [question(number, f"q{number}") for number in (3, 1, 2)])
    answers = annotations_file(tmp_path, [annotation(number, ANSWERS) for number in (1, 2, 3)])
    for files in ([questions, answers], [answers, questions]):
        found = list(vqa.annotations(files, ""))
        assert [(item.id, item.question) for item in found] == [("1", "q1"), ("2", "q2"), ("3", "q3")]
    first = found[0]
    assert (first.answer, first.accepted, first.task) == ("cat", (("cat", 6.0), ("dog", 3.0)), "vqa")
    assert first.truth == {"answer": "cat", "answers": ANSWERS, "answer_type": "other", "question_type": "what is"}
    assert first.images[:2] == ("COCO_val2014_000000000042.jpg", "val2014/COCO_val2014_000000000042.jpg")
    assert "val2017/000000000042.jpg" in first.images


def test_the_annotations_alone_are_enough_to_score(tmp_path):
    entry = {"question_id": "own-1", "answers": [{"answer": "cat"}, {"answer": "cat"}]}
    (found,) = vqa.annotations([write(tmp_path / "own.json", {"annotations": [entry]})], "val")
    assert (found.id, found.question, found.images) == ("own-1", "", ())
    assert found.truth == {"answer": "cat", "answers": ["cat", "cat"]}
    own = {"question_id": 2, "image_id": "cats/2.png", "answers": ["cat", "dog"]}
    (found,) = vqa.annotations([write(tmp_path / "own.json", {"annotations": [own]})], "")
    assert found.images == ("cats/2.png",)


def test_the_split_is_what_the_file_says_wherever_it_says_it(tmp_path):
    entry = annotation(1, ANSWERS)
    path = write(tmp_path / "a.json", {"annotations": [entry], "data_subtype": "train2014"})
    assert len(list(vqa.annotations([path], "train"))) == 1
    with pytest.raises(DataError, match=r"a\.json is of train2014, not of val; name the file of val"):
        list(vqa.annotations([path], "val"))
    questions = questions_file(tmp_path, [question(1)], data_subtype="train2014")
    with pytest.raises(DataError, match=r"v2_questions\.json is of train2014, not of val"):
        list(vqa.annotations([annotations_file(tmp_path, [entry]), questions], "val"))


def test_another_year_is_told(tmp_path):
    answers = annotations_file(tmp_path, [annotation(1, ANSWERS)])
    abstract = write(tmp_path / "a.json", {"data_subtype": "val2015", "annotations": [annotation(1, ANSWERS)]})
    with pytest.raises(DataError, match=r"a\.json is of val2015, not of val2014; name the file of that year"):
        list(vqa.annotations([abstract], "val"))
    questions = questions_file(tmp_path, [question(1)], data_subtype="val2015")
    with pytest.raises(DataError, match=r"v2_annotations\.json is of val2014 and .*v2_questions\.json of val2015"):
        list(vqa.annotations([answers, questions], ""))


BROKEN = [
    (
        {"annotations": [annotation(1, ANSWERS), annotation(1, ANSWERS)]},
        r"a\.json, annotations 2: the id 1 stands twice",
    ),
    ({"annotations": [{"question_id": 1}]}, r"a\.json, annotations 1 has no `answers`"),
    ({"annotations": [{"question_id": 1, "answers": []}]}, r"annotations 1: `answers` is empty"),
    ({"annotations": [{"question_id": 1, "answers": [{"text": "cat"}]}]}, r"annotations 1 has no `answer`"),
    ({"annotations": [{"question_id": 1, "answers": [3]}]}, r"annotations 1: `answers` must hold texts, not '3'"),
    ({"annotations": [{"question_id": 1, "answers": [{"answer": 3}]}]}, r"`answer` must be text, not '3'"),
    ({"annotations": [{"answers": ["cat"]}]}, r"annotations 1: `question_id` must be an id"),
    ({"annotations": [{"question_id": True, "answers": ["cat"]}]}, r"`question_id` must be an id"),
    ({"annotations": ["cat"]}, r"annotations 1 is no object"),
    ({"annotations": []}, r"a\.json has neither `questions` nor `annotations`"),
    ({"data": []}, r"a\.json has neither `questions` nor `annotations`"),
    ({"questions": [question(1)]}, r"has questions without answers; name the file of their annotations too"),
    ([{"question_id": 1}], r"a\.json begins with '\['"),
]


@pytest.mark.parametrize(("content", "words"), BROKEN)
def test_broken_files_are_one_line(tmp_path, content, words):
    path = write(tmp_path / "a.json", content)
    with pytest.raises(DataError, match=words) as caught:
        list(vqa.annotations([path], ""))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "answered", "words"),
    [
        ([1], [1, 2], r"annotations 2: the question 2 is not in .*v2_questions\.json; take both files of one split"),
        ([1, 2, 3], [2], r"v2_questions\.json: the question 1 has no annotation in .*v2_annotations\.json"),
        ([1, 2], [1], r"v2_questions\.json: the question 2 has no annotation"),
        ([1, 1, 2], [2], r"v2_questions\.json, questions 2: the id 1 stands twice"),
    ],
)
def test_files_that_are_not_about_the_same_questions(tmp_path, asked, answered, words):
    questions = questions_file(tmp_path, [question(number) for number in asked])
    answers = annotations_file(tmp_path, [annotation(number, ANSWERS) for number in answered])
    with pytest.raises(DataError, match=words):
        list(vqa.annotations([questions, answers], ""))


def test_two_files_of_one_kind_are_not_one_set(tmp_path):
    paths = [annotations_file(tmp_path / name, [annotation(1, ANSWERS)]) for name in ("train", "val")]
    with pytest.raises(DataError, match="both have annotations; name the files of one split"):
        list(vqa.annotations(paths, ""))
    with pytest.raises(DataError, match="no file has `annotations`"):
        list(vqa.annotations([], ""))


def opened(root, *files):
    settings = DataSet(format="vqa", files=files, images="images", licence="MIT", split={"test": 1.0})
    seen = [RawFile(name, path.stat().st_size, sha256_file(path)) for name, path in raw_files(settings, root)]
    write_manifest(root / "manifest", seen)
    return open_source("own", settings, root, root / "manifest")


def test_questions_get_their_images_or_are_counted(tmp_path):
    questions_file(tmp_path, [question(1), question(2, image=7)])
    annotations_file(tmp_path, [annotation(1, ANSWERS), annotation(2, ANSWERS, image=7)])
    image = tmp_path / "images" / "val2014" / "COCO_val2014_000000000042.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"picture")
    source = opened(tmp_path, "v2_questions.json", "v2_annotations.json")
    found, rejected = vqa.read(source)
    assert (found.record.turns[0].question, found.image.read()) == ("what is it?", b"picture")
    assert found.record.annotation["answers"] == ANSWERS
    assert rejected["id"] == "2"
    assert "its image 'COCO_val2014_000000000007.jpg' is missing" in rejected["reason"]


def test_to_ask_the_questions_are_needed(tmp_path):
    annotations_file(tmp_path, [annotation(1, ANSWERS)])
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"own: name the file with the questions beside .*v2_annotations\.json"):
        list(vqa.read(opened(tmp_path, "v2_annotations.json")))


def test_memory_is_that_of_the_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(json_items, "_CHUNK", 1 << 16)
    count = 3000
    questions = questions_file(tmp_path, [question(number, "why? " * 300) for number in range(count)])
    answers = annotations_file(tmp_path, [annotation(number, ["x" * 200] * 10) for number in range(count)])
    size = questions.stat().st_size + answers.stat().st_size
    tracemalloc.start()
    assert sum(1 for _ in vqa.annotations([questions, answers], "")) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 5, "a window of each file is in memory, not the files"
