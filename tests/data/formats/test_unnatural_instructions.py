"""Unnatural Instructions: texts alone, an instruction with its constraints."""

from __future__ import annotations

import pytest

from tests.data.formats.official import read_set, write_json
from tests.data.formats.trained import trained
from tinygptv.data.recognise import recognise
from tinygptv.ground.errors import DataError

FILE = "filtered_unnatural_instruction.json"
FIRST = {
    "instruction_with_input": "Name it.\nInput: a cat",
    "input": "a cat",
    "constraints": "One word.",
    "output": "Cat.",
}


def instance(**change):
    """An entry whose first instance differs so."""
    return {"instruction": "Name it.", "instances": [{**FIRST, **change}]}


@pytest.fixture
def read(tmp_path):
    """``read(entries)``: records and rejections."""

    def make(entries, **settings):
        write_json(tmp_path / FILE, entries)
        return read_set(tmp_path, "unnatural_instructions", (FILE,), **{"images": "", **settings})

    return make


@pytest.mark.parametrize(
    ("constraints", "asked"),
    [
        ("One word.", "Name it.\nInput: a cat One word."),
        (None, "Name it.\nInput: a cat"),
        ("None.", "Name it.\nInput: a cat None."),
    ],
)
def test_an_instruction_is_followed_by_its_constraints(read, constraints, asked):
    (found,), rejected = read([instance(constraints=constraints)])
    assert rejected == [] and found.image is None
    assert (found.record.task, found.record.id) == ("conversation", f"{FILE}, entry 1")
    assert [(turn.question, turn.answer) for turn in found.record.turns] == [(asked, "Cat.")]


def test_constraints_may_be_missing_and_the_first_instance_counts(read):
    without = {key: value for key, value in FIRST.items() if key != "constraints"}
    (found,), rejected = read([{"instances": [without, {**FIRST, "output": "Dog."}]}])
    assert rejected == []
    assert (found.record.turns[0].question, found.record.turns[0].answer) == ("Name it.\nInput: a cat", "Cat.")


def test_no_image_is_put_around_an_instruction(read, build, tokenizer, smoke):
    found, _ = read([instance(), instance(output="Dog.")])
    assert trained(build, tokenizer, smoke.stage4, found) == {
        ("###Human: Name it.\nInput: a cat One word. ###Assistant: ", f"{answer}.###") for answer in ("Cat", "Dog")
    }


def test_the_paper_trains_on_both_texts_as_blip_has_them(read, build, tokenizer, smoke):
    found, _ = read([instance(instruction_with_input="Name it.  Input: a cat")], blip_caption=("question", "answer"))
    assert trained(build, tokenizer, smoke.stage4, found) == {
        ("###Human: name it input a cat one word ###Assistant: ", "cat###")
    }


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"instruction": "Name it."}, "has no `instances`"),
        ({"instances": FIRST}, "`instances` must be a list"),
        ({"instances": []}, "`instances` must begin with an object"),
        ({"instances": ["Name it."]}, "`instances` must begin with an object"),
        (instance(instruction_with_input=None), "`instruction_with_input` must be text"),
        (instance(constraints=["One word."]), "`constraints` must be text, not \"['One word.']\""),
        (instance(output=3), "`output` must be text, not '3'"),
        ([], "is no object"),
    ],
)
def test_a_broken_entry_is_left_out(read, entry, reason):
    found, (rejection,) = read([instance(), entry, instance()])
    assert len(found) == 2
    assert rejection["id"] == f"{FILE}, entry 2"
    assert rejection["reason"].startswith(reason)


def test_a_damaged_file_and_a_part_are_refused(read, tmp_path):
    with pytest.raises(DataError, match="files of the form unnatural_instructions have no parts"):
        read([instance()], part="train")
    (tmp_path / FILE).write_text("[{]")
    with pytest.raises(DataError, match=r"line 1, column 3: not valid JSON"):
        read_set(tmp_path, "unnatural_instructions", (FILE,), images="")


def test_the_file_is_recognised_and_is_no_other_form_s(tmp_path):
    path = write_json(tmp_path / FILE, [instance()])
    assert list(recognise(path)) == ["unnatural_instructions"]
    asked = write_json(tmp_path / "asked.json", [{"instruction": "Name it.", "input": "a cat"}])
    assert recognise(asked) == {}, "nothing answers it"
