"""VQA accuracy: the goldens of the official scripts, and each variant beside a slow transcription of its definition."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from fractions import Fraction

import pytest

from tinygptv.evaluation.metrics.vqa_accuracy import (
    BACK_TICKED,
    CONTRACTIONS,
    VARIANTS,
    evalai_normalised,
    leave_one_out,
    normalised,
    vizwiz_normalised,
)

GOLDEN = [  # answer, the official functions, EvalAI's
    ("Black.", "black", "black"),
    ("None", "0", "0"),
    ("Twenty", "twenty", "twenty"),
    ("the cat", "cat", "cat"),
    ("two dogs", "2 dogs", "2 dogs"),
    ("none of them", "0 of them", "0 of them"),
    ("1,000", "1000", "1000"),
    ("1,000 dollars, ok", "1000 dollars ok", "1000 dollars ok"),
    ("3.5", "3.5", "3.5"),
    ("$3.50.", "$3.50", "$3.50"),
    ("7.30 am", "7.30 am", "7.30 am"),
    ("a.m.", "am", "am"),
    ("U.S.A.", "usa", "usa"),
    ("it's", "it's", "it 's"),
    ("man's", "man's", "man 's"),
    ("she's", "she's", "she 's"),
    ("dont", "don't", "don't"),
    ("isnt", "isn't", "isn't"),
    ("Im", "im", "im"),
    ("yall", "y'all", "y'all"),
    ("yes!", "yes", "yes"),
    ("yes, sir", "yes sir", "yes sir"),
    ("t-shirt", "t shirt", "t shirt"),
    ("mother-in-law", "mother in law", "mother in law"),
    ("left/right", "left right", "left right"),
    ("3:30", "3:30", "3:30"),
    ("10%", "10%", "10%"),
    ("one-way", "1 way", "1 way"),
    ("a", "", ""),
    ("", "", ""),
    ("an apple a day", "apple day", "apple day"),
    ("." * 40 + "x", "." * 8 + "x", "." * 8 + "x"),
    ("café", "café", "café"),
    ("6'2\"", "6'2", "6'2"),
    # By the definition, beyond the table of the facts.
    ("red,white", "red white", "redwhite"),
    ("who?me", "who me", "whome"),
    ("red\nwhite", "red white", "red white"),
    ("t-shirt\t-", "tshirt", "tshirt"),
]


@pytest.mark.parametrize(("answer", "official", "evalai"), GOLDEN)
def test_answers_are_normalised_as_the_official_scripts_do_it(answer, official, evalai):
    assert (normalised(answer), evalai_normalised(answer)) == (official, evalai)


def test_the_table_of_contractions_is_the_published_one():
    """Compared with the script's own at GT-Vision-Lab/VQA a013f00, and held by its digest."""
    listed = json.dumps(sorted(CONTRACTIONS.items())).encode()
    assert (len(CONTRACTIONS), hashlib.md5(listed).hexdigest()) == (120, "0dab565533f2a03023b871d698f7bdd4")
    assert {key for key in CONTRACTIONS if key != key.lower()} == {"Id've", "I'dve", "Im", "Ive"}
    assert vizwiz_normalised("dont") == "don`t"
    assert vizwiz_normalised("aint wheres") == "ain't where's"
    assert vizwiz_normalised("don't she's") == "don't she's"
    assert len([word for word, right in BACK_TICKED.items() if "'" in right]) == 8


YES = ["yes"] * 8 + ["no"] * 2
SCORES = [  # variants, prediction, answers, accuracy
    ("A B C D D-EvalAI E", "yes", YES, 1.0),
    ("A B C D D-EvalAI E", "no", YES, 0.6),
    ("A B C D D-EvalAI E", "maybe", YES, 0.0),
    ("B B-folded", "Black.", ["black"] * 10, 0.0),
    ("A C D D-EvalAI E", "Black.", ["black"] * 10, 1.0),
    ("A C E", "the cat", ["the cat"] * 10, 0.0),
    ("B D D-EvalAI", "the cat", ["the cat"] * 10, 1.0),
    ("A E", "t-shirt", ["t-shirt"] * 10, 0.0),
    ("B C D D-EvalAI", "t-shirt", ["t-shirt"] * 10, 1.0),
    ("B", "Stop", ["STOP"] * 10, 0.0),
    ("B-folded D", "Stop", ["STOP"] * 10, 1.0),
    ("A B C D E", "none", ["none"] * 3 + ["nothing"] * 7, {"A": 0.0, "B": 0.9, "C": 0.0, "D": 0.9, "E": 0.0}),
    ("D E", "dont", ["don't"] * 10, {"D": 1.0, "E": 0.0}),
]


@pytest.mark.parametrize(("names", "answer", "answers", "expected"), SCORES)
def test_what_answers_are_worth(names, answer, answers, expected):
    for name in names.split():
        wanted = expected[name] if isinstance(expected, dict) else expected
        assert VARIANTS[name].accuracy(answer, answers) == wanted, name


@pytest.mark.parametrize("people", range(2, 14))
def test_any_number_of_people_each_left_out_in_turn(people):
    for matches in range(people + 1):
        left_out = [min(Fraction(1), Fraction(matches - (i < matches), 3)) for i in range(people)]
        assert leave_one_out(matches, people) == float(sum(left_out) / people)


def test_one_answer_has_nobody_to_agree_with():
    assert math.isnan(leave_one_out(1, 1))
    assert math.isnan(VARIANTS["B"].accuracy("yes", []))


def test_votes_are_people():
    said = ["yes"] * 6 + ["no"] * 3 + ["Yes."]
    for variant in VARIANTS.values():
        assert variant.accuracy("no", ["yes", "no", "Yes."], (6.0, 3.0, 1.0)) == variant.accuracy("no", said)


@pytest.mark.parametrize("name", VARIANTS)
def test_odd_answers(name):
    for answer in ("", " ", "\n", "🙂", "🙂 🙂", "a" * 10_000, "the " * 2500, "." * 10_000, "\u0130", "\x00"):
        assert VARIANTS[name].accuracy(answer, ["cat"] * 9 + ["dog"]) == 0.0
    assert VARIANTS[name].accuracy("🙂", ["🙂"] * 10) == 1.0
    assert VARIANTS[name].accuracy("x" * 10_000, ["x" * 10_000] * 10) == 1.0


# The definition of the published scripts, step by step, as slow as it reads. Only the tables are ours.


def slow_punctuation(text):
    out = text
    for mark in [*";/[]", '"', *"{}()=+", "\\", *"_-><@`,?!"]:
        touches_a_space = text.find(mark + " ") >= 0 or text.find(" " + mark) >= 0
        comma_in_a_number = re.findall("[0-9],[0-9]", text) != []
        out = out.replace(mark, "" if touches_a_space or comma_in_a_number else " ")
    kept, gone = [], 0
    for place, character in enumerate(out):
        if character == "." and not out[place + 1 : place + 2].isdigit() and gone < 32:
            gone += 1
        else:
            kept.append(character)
    return "".join(kept)


def slow_words(text, contractions):
    numbers = ["none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    words = []
    for word in text.lower().split():
        if word in numbers:
            word = str(max(0, numbers.index(word) - 1))
        if word in ("a", "an", "the"):
            continue
        words.append(word)
    return " ".join(contractions.get(word, word) for word in words)


def slow_both(text, contractions=CONTRACTIONS):
    return slow_words(slow_punctuation(text.replace("\n", " ").replace("\t", " ").strip()), contractions)


def slow_evalai(text):
    return slow_both("".join(c for c in text.lower() if c not in ",?").replace("'s", " 's").strip())


def slow_accuracy(name, answer, answers):
    """In percent with two decimals, as the scripts print it."""
    unanimous = all(one == answers[0] for one in answers)
    if name == "A":
        answer, answers = slow_both(answer), [one if unanimous else slow_punctuation(one) for one in answers]
    elif name in ("B", "B-folded"):
        answer, *answers = (one.replace("\n", " ").replace("\t", " ").strip() for one in (answer, *answers))
        if len(set(answers)) > 1:
            answer, answers = slow_both(answer), [slow_both(one) for one in answers]
        if name == "B-folded":
            answer, answers = answer.lower(), [one.lower() for one in answers]
    elif name == "C":
        answer, answers = slow_both(answer), [slow_punctuation(one) for one in answers]
    elif name == "D":
        answer, answers = slow_both(answer), [slow_both(one) for one in answers]
    elif name == "D-EvalAI":
        answer, answers = slow_evalai(answer), [slow_evalai(one) for one in answers]
    else:
        answer = slow_both(answer, BACK_TICKED)
    people = [{"answer": text, "answer_id": number} for number, text in enumerate(answers)]
    of_each = []
    for person in people:
        others = [other for other in people if other != person]
        of_each.append(min(1, float(len([other for other in others if other["answer"] == answer])) / 3))
    return round(100 * float(sum(of_each)) / len(of_each), 2)


WORDS = ["yes", "No", "the cat", "a dog", "two", "none", "ten", "1,000", "3.5", "dont", "isn't", "man's", "t-shirt",
         "left/right", "Im", "U.S.A.", "yes!", "black, white", "7.30 am", "🙂", "", "an", "What?", "\ta b\n", "6'2\"",
         "red\nwhite", "who?me",
         "it's", "couldn'tve", "`tis", "x,1,2", ".", "...", "STOP", "3:30", "10%", "$5.", "-", "é"]  # fmt: skip


def drawn(number):
    """A question of the thousand: ten answers of few kinds, and a prediction that is often like one of them."""
    draws = random.Random(number)

    def text():
        return draws.choice(["", " ", "  "]).join(draws.choices(WORDS, k=draws.choice((1, 1, 1, 2, 3))))

    kinds = [text() for _ in range(draws.choice((1, 1, 2, 3, 5)))]
    answers = draws.choices(kinds, k=draws.choice((10, 10, 10, 5, 3)))
    near = draws.choice(answers)
    like = (near.upper(), near + ".", f"the {near}", near.replace("'", " '"), near.replace(", ", ","))
    return draws.choice((near, near, *like, text())), answers


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_its_published_definition_to_the_last_digit(name):
    questions = [drawn(number) for number in range(1000)]
    fast = [round(100 * VARIANTS[name].accuracy(answer, answers), 2) for answer, answers in questions]
    slow = [slow_accuracy(name, answer, answers) for answer, answers in questions]
    assert fast == slow
    assert 100 < sum(value > 0 for value in slow) < 990, "the draws reach both ends"
    assert len(set(slow)) > 5


def test_no_two_variants_are_one():
    questions = [drawn(number) for number in range(1000)]
    totals = {name: sum(variant.accuracy(*question) for question in questions) for name, variant in VARIANTS.items()}
    assert len(set(totals.values())) == len(VARIANTS), totals
