"""GQA's questions: an object id → question, whose file says of which part it is."""

from __future__ import annotations

import pytest

from tests.data.formats.official import draw, read_set, write_json
from tinygptv.data.formats.gqa import annotations
from tinygptv.ground.errors import DataError

QUESTION = {
    "question": "Who is wearing the dress?",
    "imageId": "n161313",
    "answer": "woman",
    "fullAnswer": "The woman is wearing a dress.",
    "isBalanced": True,
    "types": {"structural": "query", "semantic": "rel", "detailed": "relS"},
}
NAME = "testdev_balanced_questions.json"


def test_the_official_layout(tmp_path):
    path = write_json(tmp_path / NAME, {"201307251": QUESTION, "201640614": {**QUESTION, "answer": "yes", "types": {}}})
    first, second = annotations([path], "")
    assert (first.id, first.images, first.question) == ("201307251", ("n161313.jpg",), "Who is wearing the dress?")
    assert first.truth == {"answer": "woman", "structural": "query"}
    assert second.truth == {"answer": "yes", "structural": ""}


def test_records_with_their_images(tmp_path):
    write_json(tmp_path / NAME, {"1": QUESTION, "2": {**QUESTION, "imageId": 12}})
    draw(tmp_path / "images" / "n161313.jpg")
    (found,), (rejection,) = read_set(tmp_path, "gqa", (NAME,))
    assert found.record.annotation["answer"] == "woman"
    assert rejection["id"] == "2"
    assert "'12.jpg' is missing" in rejection["reason"]


def test_a_folder_and_the_part_that_is_named(tmp_path):
    for part in ("testdev", "val"):
        write_json(tmp_path / f"{part}_balanced_questions.json", {part: QUESTION})
    files = sorted(tmp_path.iterdir())
    assert [item.id for item in annotations(files, "val_balanced")] == ["val"]
    assert [item.id for item in annotations(files, "")] == ["testdev"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": None}, "`answer` must be text"),
        ({"imageId": True}, "`imageId` must be an id"),
        ({"question": ["Who?"]}, "`question` must be text"),
        ({"isBalanced": False}, "not of the balanced questions"),
    ],
)
def test_a_broken_entry_is_named(tmp_path, change, words):
    path = write_json(tmp_path / NAME, {"7": QUESTION, "8": {**QUESTION, **change}})
    with pytest.raises(DataError, match=words) as caught:
        list(annotations([path], ""))
    assert f"{NAME}, 8" in str(caught.value)


def test_a_split_without_answers_is_named(tmp_path):
    hidden = {key: value for key, value in QUESTION.items() if key != "answer"}
    with pytest.raises(DataError, match=f"{NAME}, 7 has no `answer`"):
        list(annotations([write_json(tmp_path / NAME, {"7": hidden})], ""))


def test_an_id_that_stands_twice(tmp_path):
    path = write_json(tmp_path / NAME, {"7": QUESTION})
    path.write_text(f"{path.read_text()[:-1]}, {path.read_text()[1:]}")
    with pytest.raises(DataError, match="the id 7 stands twice"):
        list(annotations([path], ""))


@pytest.mark.parametrize(
    ("name", "part", "words"),
    [
        ("val_balanced_questions.json", "", "no file is of the part testdev_balanced; there is val_balanced"),
        (NAME, "challenge", "there is no part challenge; there are testdev_balanced"),
    ],
)
def test_another_part(tmp_path, name, part, words):
    with pytest.raises(DataError, match=words):
        list(annotations([write_json(tmp_path / name, {"1": QUESTION})], part))


def test_a_list_is_another_file(tmp_path):
    with pytest.raises(DataError, match="must be a JSON object"):
        list(annotations([write_json(tmp_path / NAME, [QUESTION])], ""))


def test_of_the_part_to_train_on_a_broken_question_is_left_out(tmp_path):
    name = "train_balanced_questions.json"
    broken = {"8": {**QUESTION, "answer": None}, "9": ["text"], "10": {**QUESTION, "imageId": 12}}
    write_json(tmp_path / name, {"7": QUESTION, **broken})
    draw(tmp_path / "images" / "n161313.jpg")
    (found,), rejected = read_set(tmp_path, "gqa", (name,), part="train_balanced")
    assert found.record.id == "7"
    assert [(item["id"], item["reason"][:28]) for item in rejected] == [
        (f"{name}, 8", "`answer` must be text, not '"),
        (f"{name}, 9 1", "is no object"),
        ("10", "its image '12.jpg' is missin"),
    ]
    write_json(tmp_path / name, {"7": {**QUESTION, "isBalanced": False}})
    with pytest.raises(DataError, match="not of the balanced questions"):
        read_set(tmp_path, "gqa", (name,), part="train_balanced")
