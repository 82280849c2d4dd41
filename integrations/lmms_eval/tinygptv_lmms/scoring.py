"""What lmms-eval's tasks do with our data: each question in the benchmark's words, each answer by its own metrics.

A folder of tasks holds a copy of the profile, so that the table of benchmarks says how an answer counts, here as in our
own reports. lmms-eval finds these functions in the ``utils.py`` that ``data.py`` writes beside the task files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygptv.config.profiles import read_config
from tinygptv.evaluation import statistics
from tinygptv.evaluation.benchmarks.seam import mean
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv_lmms.asking import as_response

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction

AUTHORS = "authors "
"""Before the name of a metric that counts as the authors' code does."""
Row = Mapping[str, Any]
"""A line of the parquet file, as ``data.py`` writes it."""


def metrics_of(benchmark: Benchmark) -> dict[str, Metric]:
    """Name in lmms-eval's results → metric, the official ones first; those told by kind have no place there."""
    named = {metric.name: metric for metric in benchmark.official}
    named |= {f"{AUTHORS}{metric.name}": metric for metric in benchmark.authors}
    return {name: metric for name, metric in named.items() if metric.by is None}


def doc_to_visual(row: Row) -> list[Any]:
    """The image of a question, for the simple form."""
    return [row["image"]]


def doc_to_text(row: Row, _settings: Any = None) -> str:
    """The instruction of a question, for the simple form, which knows no earlier turns."""
    return str(row["instruction"])


def doc_to_messages(row: Row, _settings: Any = None) -> list[dict[str, Any]]:
    """The conversation up to a question, for the chat form."""
    instructions = [*(turn["instruction"] for turn in row["earlier"]), row["instruction"]]
    messages: list[dict[str, Any]] = []
    for place, instruction in enumerate(instructions):
        content: list[dict[str, Any]] = [{"type": "text", "text": instruction}]
        if place == 0:
            content.insert(0, {"type": "image", "url": row["image"]})
        else:
            answer = row["earlier"][place - 1]["answer"]
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        messages.append({"role": "user", "content": content})
    return messages


class Scoring:
    """The metrics of a folder of tasks."""

    def __init__(self, folder: Path) -> None:
        """Of a folder that ``data.py`` wrote."""
        self._benchmarks = _benchmarks(folder)

    def process_results(self, row: Row, results: Sequence[Any]) -> dict[str, dict[str, Any]]:
        """What each metric keeps of an answer: lmms-eval gathers it and hands it to ``aggregate``.

        Args:
            row: the question.
            results: the answer, a text alone or what ``as_json`` makes of a response with likelihoods.
        """
        benchmark = self._benchmarks[row["benchmark"]]
        truth = json.loads(row["truth"])
        prediction = benchmark.predict(truth, as_response(results[0]))
        kept = {"benchmark": row["benchmark"], "image": row["key"], "truth": truth, "answer": results[0]}
        return {
            name: {**kept, "metric": name, **_score(metric, truth, prediction)}
            for name, metric in metrics_of(benchmark).items()
        }

    def aggregate(self, kept: Sequence[Mapping[str, Any]]) -> float:
        """A metric of all answers, not rounded; NaN where it is undefined."""
        benchmark = self._benchmarks[kept[0]["benchmark"]]
        metric = metrics_of(benchmark)[kept[0]["metric"]]
        truths = [item["truth"] for item in kept]
        predictions = [benchmark.predict(item["truth"], as_response(item["answer"])) for item in kept]
        found = statistics.number(metric, metric.columns(truths, predictions))
        return math.nan if found is None else found


def _score(metric: Metric, truth: Mapping[str, Any], prediction: Prediction) -> dict[str, float]:
    """The share of an answer in a mean, of which lmms-eval makes standard errors (its ``score_key``)."""
    if metric.value is not mean or metric.whole:
        return {}
    score = float(np.ravel(metric.columns([truth], [prediction]))[0])
    return {} if math.isnan(score) else {"score": score}


@cache
def _benchmarks(folder: Path) -> dict[str, Benchmark]:
    """Name of what is asked → its benchmark; lmms-eval loads a ``utils.py`` once for each function of a task."""
    return {ask.name: ask.benchmark for ask in asks_of(read_config(folder / "profile.yaml"))}
