"""What a benchmark's module says of it, and what it is given.

A benchmark turns a model's response into a prediction, and predictions of any model into numbers. What is official and
what the authors counted stand side by side; nothing outside this package knows a benchmark by name.

Shapes: Q questions, C numbers that a metric keeps of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tinygptv.config import Preset, Task
    from tinygptv.model.answerer import Response

Truth = Mapping[str, Any]
"""What a benchmark's files say of a question (``Annotation.truth``), or ``question_truth`` of a set of one's own."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is measured of an answer; a benchmark uses what it needs.

    A question that a file of predictions leaves out has ``Prediction()``, which counts as wrong: a metric that ranks
    puts it at the wrong end, and where ``value`` is ``mean``, ``tinygptv score`` writes 0 into the first column.
    """

    answer: str = ""
    """The text, cut where the benchmark says that an answer ends."""
    score: float | None = None
    """How likely the positive class is, where answers are ranked."""
    choice: int | None = None
    """Number of the chosen answer, where there are choices."""
    box: tuple[float, float, float, float] | None = None
    """Left, top, width, height in pixels of the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number of all answers. Any weights of the questions give one, so that any metric has a bootstrap."""

    name: str
    """Its key in `official` and `authors`."""
    variant: str
    """Which definition it is, by name."""
    columns: Callable[[Sequence[Truth], Sequence[Prediction]], Numbers]
    """What it keeps of each question, [Q, C]; a row of NaN: the question does not count."""
    value: Callable[[Numbers, Numbers], float]
    """The number, from the rows that count [Q, C] and their weights [Q] (whole numbers); NaN where it is undefined."""
    additive: bool = True
    """Whether ``value`` depends on the weighted sums of the columns alone: images are then summed before they are
    drawn."""
    whole: bool = False
    """Whether the columns of a question depend on the other questions: they are then computed of all at once."""
    by: Callable[[Truth], str] | None = None
    """Kind of question: the metric is then told of each kind by itself."""
    undefined: str = ""
    """When it is NaN, in words."""
    lacks: Callable[[Prediction], bool] | None = None
    """Whether a prediction leaves out what is counted, as all of a file may; beside others it is wrong, and told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A way to ask and to count."""

    title: str
    """What pictures call it."""
    source: str
    """Whose definition it is: a paper, or a repository and file."""
    official: tuple[Metric, ...]
    """The first decides: gates, plots and intervals are about it."""
    authors: tuple[Metric, ...] = ()
    """As the authors' code counts, where it counts otherwise."""
    form: str = ""
    """Form of its official files (``config/formats.py``); empty: it has none."""
    own_data: bool = False
    """Whether it also asks files of other forms, of which it needs no more than ``question_truth`` knows."""
    parts: Mapping[str, int | None] = field(default_factory=dict)
    """Official split → its published number of questions, None where that is not known; the first is the default."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """Official split → what the paper's table 2 has for its model, as its authors count."""
    authors_log: Mapping[str, float] = field(default_factory=dict)
    """The same of the log of their own runs, of what the table leaves out."""
    instruction: Callable[[Preset, Task, str, Truth], str]
    """The words of a question: preset, task, content and truth → instruction."""
    choices: Callable[[Truth], tuple[str, ...]] = lambda _: ()
    """Answers whose likelihood is measured beside the generated one."""
    predict: Callable[[Truth, Response], Prediction]
    """What counts of a model's response."""
    read_prediction: Callable[[Mapping[str, Any]], tuple[str, Prediction]] | None = None
    """An entry of a file in its submission form → id and prediction; raises ValueError, KeyError or TypeError
    (``submissions.py``)."""
    write_prediction: Callable[[str, Prediction, Truth], dict[str, Any]] | None = None
    """The same the other way."""
    id_key: str = ""
    """What an entry calls its id, where a file may also be one object, id → entry."""
    kin: Callable[[Truth], str] = lambda _: ""
    """Name of another benchmark of the same form that a question is of, by its fields; empty: they do not say so."""
    guess: Callable[[Truth], str] = lambda truth: str(truth["answer"])
    """The answer that baselines count: the most frequent one, of all questions and of those with the same words, is
    what a model without eyes would say."""
    as_response: Callable[[str], Response] | None = None
    """A guess as a response; None: its text is generated, its likelihood unknown."""
    chance: Callable[[Truth], float] | None = None
    """What guessing reaches on a question, where that says something."""
    type_of: Callable[[str, Truth], str] = lambda _content, _truth: ""
    """Kind of question; no two benchmarks share one, so it begins with the benchmark's name."""
    types: tuple[str, ...] = ()
    """The kinds in the order of the reports; those that come otherwise follow in the order of the data."""
    images_may_train: bool = False
    """Whether its own design has its test images in common training data, such as COCO's."""


def each(
    of: Callable[[Truth, Prediction], Sequence[float]],
) -> Callable[[Sequence[Truth], Sequence[Prediction]], Numbers]:
    """Columns that depend on one question at a time."""

    def columns(truths: Sequence[Truth], predictions: Sequence[Prediction]) -> Numbers:
        return np.asarray([of(t, p) for t, p in zip(truths, predictions, strict=True)], dtype=np.float64)

    return columns


def mean(columns_QC: Numbers, weights_Q: Numbers) -> float:
    """The weighted mean of the first column."""
    total = weights_Q.sum()
    return float((columns_QC[:, 0] * weights_Q).sum() / total) if total else float("nan")
