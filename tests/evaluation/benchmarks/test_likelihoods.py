"""Which of given answers is meant, by how likely each is."""

from __future__ import annotations

import math
import random

import pytest

from tests.evaluation.benchmarks.scored import response
from tinygptv.evaluation.benchmarks.likelihoods import likelier_of, lowest_loss, share_of_first
from tinygptv.model.answerer import Likelihood


def likely(logprob, tokens=1):
    return Likelihood(logprob=logprob, tokens=tokens)


def test_the_lowest_mean_loss_over_a_thousand_draws():
    draws = random.Random(0)
    for _ in range(1000):
        drawn = [(-draws.random() * 9, draws.randrange(1, 6)) for _ in range(draws.randrange(1, 6))]
        losses = [-logprob / tokens for logprob, tokens in drawn]
        assert lowest_loss([likely(*one) for one in drawn]) == losses.index(min(losses))


def test_the_first_of_equals():
    assert lowest_loss([likely(-4.0, 2), likely(-2.0), likely(-6.0, 3)]) == 0


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [(-1.0, -1.0, 0.5), (-1.0, -1e6, 1.0), (-1e6, -1.0, 0.0), (math.log(0.2), math.log(0.6), 0.25)],
)
def test_the_share_of_the_first(first, second, share):
    assert share_of_first(likely(first), likely(second)) == pytest.approx(share)
    assert share_of_first(likely(second), likely(first)) == pytest.approx(1 - share)


@pytest.mark.parametrize(
    ("told", "score", "choice"),
    [
        (response("no", -1.0, -1.0), 0.5, 1),
        (response("no", -1.0, -0.9), pytest.approx(0.475, abs=1e-3), 0),
        (response(" Yes. "), 1.0, 1),
        (response("no"), 0.0, 0),
        (response("perhaps"), 0.5, None),
    ],
)
def test_one_of_two_words(told, score, choice):
    found = likelier_of(("yes", "no"))({}, told)
    assert (found.score, found.choice, found.answer) == (score, choice, told.text.strip())
