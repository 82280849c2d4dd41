"""BLIP's processing of captions: against a slow transcription of the published rule, and what it does to turns."""

import random

import pytest

from tinygptv.data.blip_caption import MAX_WORDS, blip_caption, processed
from tinygptv.data.records import Turn


def published(text: str) -> str:
    """Character by character: lower case, ten marks to spaces, two or more spaces to one, ends bare, 50 words."""
    found = ""
    for character in text.lower():
        found += " " if character in '.!"()*#:;~' else character
    squeezed, run = "", ""
    for character in [*found, None]:
        if character is not None and character.isspace():
            run += character
            continue
        squeezed += " " if len(run) > 1 else run
        squeezed, run = squeezed + (character or ""), ""
    while squeezed.endswith("\n"):
        squeezed = squeezed[:-1]
    squeezed = squeezed.strip(" ")
    return " ".join(squeezed.split(" ")[:MAX_WORDS])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Dog.", "a dog"),
        ("3.5", "3 5"),
        ('He said: "No!" (twice)', "he said no twice"),
        ("what's that?", "what's that?"),
        ("{<1><20><300><4>}", "{<1><20><300><4>}"),
        ("one\ntwo \n three", "one\ntwo three"),
        ("...", ""),
        ("word " * 60, " ".join(["word"] * 50)),
    ],
)
def test_what_becomes_of_a_text(text: str, expected: str) -> None:
    assert blip_caption(text) == expected


def test_a_thousand_texts_become_what_the_published_rule_makes_of_them() -> None:
    drawn = random.Random(5)
    for _ in range(1000):
        text = "".join(drawn.choices('aB9 .!"()*#:;~-,?\n\té', k=drawn.randrange(300)))
        assert blip_caption(text) == published(text), ascii(text)


def test_answers_that_become_equal_count_together() -> None:
    turn = Turn("Is it?", "Yes", (("Yes", 4.0), ("no", 3.0), ("No.", 2.0), ("!", 9.0)))
    assert processed(turn, ("answer",)) == Turn("Is it?", "no", (("yes", 4.0), ("no", 5.0)))


def test_one_answer_that_is_left_is_no_choice() -> None:
    assert processed(Turn("", "Yes", (("Yes", 1.0), ("yes.", 1.0))), ("answer",)) == Turn("", "yes")


def test_wordings_that_become_equal_are_drawn_as_often_as_before() -> None:
    turn = Turn("The Dog", "{<1><2><3><4>}", (), ("The Dog", "the dog.", "A dog", "..."))
    expected = Turn("the dog", "{<1><2><3><4>}", (), ("the dog", "the dog", "a dog"))
    assert processed(turn, ("question",)) == expected


def test_what_is_not_named_stays() -> None:
    turn = Turn("What IS it?", "A Dog.")
    assert processed(turn, ("answer",)) == Turn("What IS it?", "a dog")
    assert processed(turn, ()) == turn
