"""What a benchmark counts of entries as they stand in a file of predictions, and texts to be counted."""

from __future__ import annotations

import random

from tinygptv.evaluation.statistics import by_kind, number
from tinygptv.model.answerer import Likelihood, Response

WORDS = (
    *("yes", "no", "not", "No", "Yes.", "NO", "true", "False", "true or false", "woman", "man", "a", "the", "know"),
    *("it's", "dont", "2", "two", "10,000", "3.5", "t-shirt", ".", ",", "!", "###", "Assistant:", "🙂", "café", "\n"),
)


def texts(count, seed=0):
    """Random answers of up to five words; some are empty, some have punctuation, articles, numbers, contractions."""
    draws = random.Random(seed)
    return [" ".join(draws.choices(WORDS, k=draws.randrange(6))) for _ in range(count)]


def numbers(metrics, truths, predictions):
    """Metric → its number, or kind of question → its number."""
    found = {}
    for metric in metrics:
        columns = metric.columns(truths, predictions)
        if metric.by is None:
            found[metric.name] = number(metric, columns)
        else:
            kinds = by_kind([metric.by(truth) for truth in truths])
            found[metric.name] = {kind: number(metric, columns[places]) for kind, places in kinds.items()}
    return found


def official(benchmark, truths, entries):
    """The official numbers of entries, one for each truth in their order."""
    return numbers(benchmark.official, truths, [benchmark.read_prediction(entry)[1] for entry in entries])


def authors(benchmark, truths, entries):
    """The authors' numbers."""
    return numbers(benchmark.authors, truths, [benchmark.read_prediction(entry)[1] for entry in entries])


def response(text, *logprobs, tokens=1):
    """A model's response with likelihoods of the choices."""
    choices = tuple(Likelihood(logprob=logprob, tokens=tokens) for logprob in logprobs)
    return Response(text=text, tokens=1, cut=False, logprob=-1.0, choices=choices)


def again(benchmark, truths, responses):
    """The numbers of a model's responses, and those of the file that they are written to."""
    predictions = [benchmark.predict(truth, told) for truth, told in zip(truths, responses, strict=True)]
    written = [
        benchmark.write_prediction(str(place), prediction, truth)
        for place, (prediction, truth) in enumerate(zip(predictions, truths, strict=True))
    ]
    read = [benchmark.read_prediction(entry) for entry in written]
    assert [name for name, _ in read] == [str(place) for place in range(len(truths))]
    metrics = (*benchmark.official, *benchmark.authors)
    return numbers(metrics, truths, predictions), numbers(metrics, truths, [prediction for _, prediction in read])
