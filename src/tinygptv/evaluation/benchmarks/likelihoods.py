"""What the likelihoods of given answers say: which is meant, and how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tinygptv.evaluation.benchmarks.seam import Metric, Prediction, each, mean
from tinygptv.evaluation.metrics.ranking import auroc, ranked
from tinygptv.evaluation.metrics.two_classes import two_way

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Truth
    from tinygptv.model.answerer import Likelihood, Response


def lowest_loss(choices: Sequence[Likelihood]) -> int:
    """The choice whose tokens are the likeliest on average, end mark included; the first of equals."""
    return max(range(len(choices)), key=lambda place: choices[place].logprob / choices[place].tokens)


def share_of_first(first: Likelihood, second: Likelihood) -> float:
    """The probability of the first of two answers, if it must be one of them."""
    lead = first.logprob - second.logprob
    return 1 / (1 + math.exp(-lead)) if lead > 0 else math.exp(lead) / (1 + math.exp(lead))


def likelier_of(words: tuple[str, str]) -> Callable[[Truth, Response], Prediction]:
    """``predict`` of a benchmark whose choices are these words: score and choice (1: the first) by their likelihood.

    A response without likelihoods, such as the guess of a baseline, is what its text is.
    """

    def predict(_truth: Truth, response: Response) -> Prediction:
        answer = response.text.strip()
        if response.choices:
            score = share_of_first(*response.choices)
            return Prediction(answer=answer, score=score, choice=int(score >= 0.5))
        said = two_way(answer, words)
        return Prediction(
            answer=answer, score=0.5 if said is None else float(said), choice=None if said is None else int(said)
        )

    return predict


def choice_accuracy(first: str, variant: str) -> Metric:
    """How often the choice (1: the answer ``first``) is the true one."""

    def right(truth: Truth, prediction: Prediction) -> tuple[float]:
        return (float(prediction.choice == int(truth["answer"] == first)),)

    return Metric(name="accuracy", variant=variant, columns=each(right), value=mean)


def score_auroc(first: str, variant: str, undefined: str) -> Metric:
    """How well scores tell the questions whose true answer is ``first`` from the others."""

    def kept(truth: Truth, prediction: Prediction) -> tuple[float, ...]:
        return ranked(positive=truth["answer"] == first, score=prediction.score)

    return Metric(name="auroc", variant=variant, columns=each(kept), value=auroc, additive=False, undefined=undefined)
