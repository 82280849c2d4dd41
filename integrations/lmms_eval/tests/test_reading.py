"""Requests as lmms-eval makes them, and those that cannot be asked of this model."""

import pytest
from PIL import Image

from tinygptv.ground.errors import DataError
from tinygptv_lmms.reading import AS_IT_IS, TEMPLATE, Settings, from_messages, from_text

RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")


def user(text, *images):
    return {"role": "user", "content": [{"type": "image", "url": i} for i in images] + [{"type": "text", "text": text}]}


def said(role, text):
    return {"role": role, "content": [{"type": "text", "text": text}]}


def test_a_question_goes_into_the_template_and_an_instruction_stays():
    assert from_text("which shape?", [RED], "t, document 0", TEMPLATE).instruction == "[vqa] which shape?"
    assert from_text("[refer] the cat", [RED], "t, document 0", TEMPLATE).instruction == "[refer] the cat"
    assert from_text("which shape?", [RED], "t, document 0", AS_IT_IS).instruction == "which shape?"


def test_a_conversation_keeps_its_turns():
    asked = from_messages(
        [said("system", "be brief"), user("first?", RED), said("assistant", "yes"), said("user", "second?")],
        "t",
        TEMPLATE,
    )
    assert asked.image is RED
    assert asked.instruction == "[vqa] second?"
    assert asked.earlier == (("[vqa] be brief\nfirst?", "yes"),)


def test_a_round_without_an_image_goes_on_and_one_with_an_image_begins_anew():
    first = from_messages([user("first?", RED)], "t", TEMPLATE)
    second = from_messages([said("user", "second?")], "t", TEMPLATE, first.answered("yes"))
    assert (second.image, second.earlier) == (RED, (("[vqa] first?", "yes"),))
    third = from_text("third?", None, "t", TEMPLATE, second.answered("no"))
    assert (third.image, third.earlier) == (RED, (("[vqa] first?", "yes"), ("[vqa] second?", "no")))
    other = from_text("third?", [BLUE], "t", TEMPLATE, second.answered("no"))
    assert (other.image, other.earlier) == (BLUE, ())


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([user("and?")], "0 images"),
        ([user("and?", RED, BLUE)], "2 images"),
        ([{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}], "has video"),
        ([user("and?", RED), said("assistant", "yes")], "user, assistant"),
        ([user("one?", RED), said("user", "two?")], "user, user"),
        ([user("  ", RED)], "the question is empty"),
        ([user("x" * 10_000, RED)], "10000 characters"),
    ],
)
def test_what_cannot_be_asked_names_task_and_document(messages, told):
    with pytest.raises(DataError, match="toy, document 7.*" + told):
        from_messages(messages, "toy, document 7", TEMPLATE)


@pytest.mark.parametrize("until", ["\n\n", ["\n\n", "."], []])
def test_an_answer_ends_where_the_task_says(until):
    settings = Settings.read({"until": until}, "t", TEMPLATE)
    assert settings.cut("a. b\n\nc") == {"\n\n": "a. b", "": "a. b\n\nc", "\n\n.": "a"}["".join(until)]


def test_settings_of_the_field_are_known():
    given = {
        "max_new_tokens": 16,
        "temperature": 0,
        "top_p": 1.0,
        "num_beams": 1,
        "do_sample": False,
        "until": ["\n\n"],
    }
    assert Settings.read(given, "t", TEMPLATE) == Settings(max_new_tokens=16, until=("\n\n",), template=TEMPLATE)
    assert Settings.read({"temperature": 0.2, "do_sample": False, "template": "{}"}, "t", TEMPLATE).template == "{}"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"do_sample": True}, "--gen_kwargs do_sample=False"),
        ({"temperature": 0.2}, "no greedy answers"),
        ({"num_beams": 4}, "no greedy answers"),
        ({"repetition_penalty": 1.1}, "has repetition_penalty"),
    ],
)
def test_what_is_not_greedy_is_refused(given, told):
    with pytest.raises(DataError, match=f"toy, document 7.*{told}"):
        Settings.read(given, "toy, document 7", TEMPLATE)
