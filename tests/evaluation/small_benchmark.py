"""A benchmark of the tests' own: its form, its metrics, and files of both kinds.

A question is right where the answers are equal; the authors let one hold the other. A score ranks, two kinds are told
apart, and questions whose truth is empty do not count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinygptv.config.benchmarks import BENCHMARKS
from tinygptv.config.formats import FORMATS
from tinygptv.data.annotations import Annotation
from tinygptv.data.json_items import read_items
from tinygptv.data.source import Rejection
from tinygptv.evaluation.benchmarks import submissions
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Prediction, each, mean
from tinygptv.evaluation.metrics.ranking import auroc, ranked

QUESTIONS = [
    {"id": 1, "image": "a.png", "answer": "yes", "kind": "one"},
    {"id": 2, "image": "a.png", "answer": "no", "kind": "one"},
    {"id": 3, "image": "b.png", "answer": "yes", "kind": "two"},
    {"id": 4, "image": "c.png", "answer": "no", "kind": "two"},
]
ANSWERS = [
    {"id": 1, "answer": "yes", "score": 0.9},
    {"id": 2, "answer": "not", "score": 0.2},
    {"id": 3, "answer": "yes", "score": 0.1},
    {"id": 4, "answer": "no", "score": 0.15},
]


def annotations(files: Sequence[Path], part: str) -> Iterator[Annotation | Rejection]:
    """The entries of this part, or of none; without an image one is left out."""
    for file in files:
        for item in read_items(file):
            entry = item.content
            if entry.get("part", part) != part:
                continue
            if not entry.get("image"):
                yield {"id": str(entry["id"]), "reason": "has no image"}
                continue
            images = () if entry["image"] == "unnamed" else (entry["image"],)
            yield Annotation(id=str(entry["id"]), images=images, question="?", answer=entry["answer"], truth=entry)


def right(truth, prediction):
    """Equal, where there is a truth."""
    return (float(prediction.answer == truth["answer"]) if truth["answer"] else math.nan,)


def read_prediction(entry):
    """An answer, perhaps with a score."""
    score = submissions.probability(entry, "score") if "score" in entry else None
    return submissions.name(entry, "id"), Prediction(answer=submissions.text(entry, "answer"), score=score)


ACCURACY = Metric(name="accuracy", variant="equal text", columns=each(right), value=mean)
BENCHMARK = Benchmark(
    title="small",
    source="the tests",
    official=(
        ACCURACY,
        Metric(
            name="auroc",
            variant="area under the curve",
            columns=each(lambda truth, prediction: ranked(positive=truth["answer"] == "yes", score=prediction.score)),
            value=auroc,
            additive=False,
            undefined="one class alone, or no score",
        ),
        Metric(name="per_kind", variant="equal text", columns=each(right), value=mean, by=lambda truth: truth["kind"]),
    ),
    authors=(
        Metric(
            name="accuracy",
            variant="one holds the other",
            columns=each(lambda truth, prediction: (float(prediction.answer in truth["answer"]),)),
            value=mean,
        ),
    ),
    form="small",
    parts={"val": 4, "test": 6, "other": None},
    instruction=lambda *_: "",
    predict=lambda *_: Prediction(),
    read_prediction=read_prediction,
)


def known(monkeypatch):
    """Put it into the tables."""
    monkeypatch.setitem(FORMATS, "small", __name__)
    monkeypatch.setitem(BENCHMARKS, "small", __name__)


def written(folder, questions=QUESTIONS, answers=ANSWERS):
    """Files of both, as lists."""
    files = folder / "questions.json", folder / "answers.json"
    for path, content in zip(files, (questions, answers), strict=True):
        path.write_text(json.dumps(content))
    return files
