"""Which answers are shown."""

from __future__ import annotations

import pytest

from tests.evaluation.asked import ASKS, question, said
from tinygptv.evaluation.gallery import Gallery, answer_of
from tinygptv.model.answerer import Likelihood, Response


def image_of(number: int) -> bytes:
    return b"image %d" % number


def filled(answers, count: int) -> Gallery:
    asked = {name: sum(q.benchmark == name for q, _ in answers) for name in {q.benchmark for q, _ in answers}}
    gallery = Gallery(ASKS, asked, count)
    for asked_, response in answers:
        gallery(asked_, response)
    return gallery


QUESTIONS = [(question("vqa", f"q{n}", "yes"), said("yes" if n % 2 else "no", -n / 10)) for n in range(10)]
CAPTIONS = [(question("caption", "", f"c{n}"), said(f"c{n}", -0.5)) for n in range(5)]


def test_the_spread_takes_benchmarks_in_turn_evenly():
    items = filled([*QUESTIONS, *CAPTIONS], 4).spread(image_of)
    assert [(item.title, item.question, item.image) for item in items] == [
        ("questions", "q0", b"image 0"),
        ("captions", "", b"image 11"),
        ("questions", "q5", b"image 5"),
        ("captions", "", b"image 13"),
    ]
    assert [item.credit for item in items] == [0.0, 1.0, 1.0, 1.0]
    assert items[0].certainty is None


def test_a_benchmark_is_shown_however_few_images_there_are():
    assert len(filled([*QUESTIONS, *CAPTIONS], 1).spread(image_of)) == 2


def test_the_worst_are_wrong_and_the_most_certain_first():
    items = filled([*CAPTIONS, *QUESTIONS], 6).worst(image_of)
    assert [(item.question, item.image) for item in items] == [
        ("q0", b"image 5"),
        ("q2", b"image 7"),
        ("q4", b"image 9"),
    ]
    assert next(item.certainty for item in items) == 1.0


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (("true", "false"), "false (of the choices; said: no)"),
        (("a circle", "a red square", "red"), "a red square (of the choices; said: no)"),
        (("yes", "no"), "no"),
        ((), "no"),
    ],
)
def test_of_choices_the_likeliest_is_shown(choices, expected):
    told = ((-2.0, 1), (-1.9, 4), (-3.0, 1))[: len(choices)]
    likelihoods = tuple(Likelihood(logprob=logprob, tokens=tokens) for logprob, tokens in told)
    response = Response(text="no", tokens=1, cut=False, logprob=-0.1, choices=likelihoods)
    assert answer_of(choices, response) == expected


def test_nothing_wrong_or_nothing_asked_shows_nothing():
    assert filled(CAPTIONS, 4).worst(image_of) == []
    assert filled([], 4).spread(image_of) == filled([], 4).worst(image_of) == []
