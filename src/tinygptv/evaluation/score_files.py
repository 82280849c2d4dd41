"""What predictions of any model reach on a benchmark, from its official files (`tinygptv score`).

Shapes: Q questions, C numbers that a metric keeps of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygptv.config.benchmarks import BENCHMARKS
from tinygptv.config.formats import FORMATS
from tinygptv.data.entries import named_part
from tinygptv.evaluation.benchmarks.seam import Benchmark, Metric, Numbers, Prediction, mean
from tinygptv.evaluation.benchmarks.table import benchmark_of
from tinygptv.evaluation.kept import KeptColumns
from tinygptv.evaluation.prediction_files import read_predictions
from tinygptv.evaluation.statistics import Images, counted, interval, number
from tinygptv.ground.errors import DataError, UserError, brief, meant
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinygptv.data.annotations import Annotation

OWN = "questions"
"""Form of the annotations of a benchmark that has no official files: questions of one's own."""
BLOCK = 4096
"""Questions that are in memory at once."""
ANNOTATIONS = frozenset({".json", ".jsonl", ".p", ".csv", ".tsv"})
"""Endings of the files that are taken from a folder, in which pictures and archives may lie too."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileScore:
    """Numbers are 0..1 and not rounded, None where they are undefined; of kinds of questions a mapping."""

    benchmark: str
    variant: str
    """Definition of the first official metric."""
    n: int
    """Questions, those without a prediction included."""
    expected_n: int | None
    """Of the published split; None where that is not known."""
    complete: bool
    """Whether the published split was scored whole, and with a prediction for each question."""
    official: dict[str, Any]
    authors: dict[str, Any] | None
    ci95: dict[str, Any]
    """Of the official metrics."""
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return asdict(self)


def scorable() -> tuple[str, ...]:
    """Names of the benchmarks that read files of predictions."""
    return tuple(name for name in BENCHMARKS if benchmark_of(name).read_prediction is not None)


def score_files(
    name: str, annotations: Sequence[Path], predictions: Path, split: str | None = None, *, allow_missing: bool = False
) -> FileScore:
    """Count the predictions of a file.

    Args:
        name: one of ``scorable``.
        annotations: the benchmark's files, or folders that hold them.
        predictions: the file of predictions.
        split: a published split; None: the one that the names of the files say, else the benchmark's first.
        allow_missing: whether questions may be without a prediction; they count as wrong.

    Raises:
        UserError: the benchmark has no such split.
        DataError: a file is damaged or of another form or split, or the ids of both sides are not the same.
    """
    benchmark = benchmark_of(name)
    assert benchmark.read_prediction is not None, f"{name} reads no predictions"
    files = _files(annotations)
    part = _part(name, benchmark, split, files)
    given = read_predictions(predictions, benchmark.read_prediction, benchmark.id_key)
    count, asked = len(given), _Asked(benchmark)
    questions = _questions(import_module(FORMATS[benchmark.form or OWN]).annotations(files, part), asked.left_out)
    while block := list(islice(questions, BLOCK)):
        asked.add(block, given)
    expected, told = benchmark.parts.get(part), some([str(file) for file in files])
    if not asked.n:
        raise DataError(f"{told}: no question of {part or name}")
    if fits := _fitting(benchmark, part, asked.n):
        raise DataError(f"{told}: {asked.n:,} questions, but {part} has {expected:,}{fits}")
    fits = _fitting(benchmark, part, count)
    if unknown := [one for one in given if one not in asked.left_out]:
        told = f"{len(unknown):,} of {count:,} predictions are of no question of {part or name}"
        raise DataError(f"{predictions}: {told}: {_names(unknown)}{fits}")
    if asked.missing and not allow_missing:
        told = f"{len(asked.missing):,} of {asked.n:,} questions of {part or name} have no prediction"
        fix = "add them, or count them as wrong with --allow-missing"
        raise DataError(f"{predictions}: {told}: {_names(asked.missing)}; {fix}{fits}")
    ends = {metric.name: asked.told(metric, interval) for metric in benchmark.official}
    return FileScore(
        benchmark=name,
        variant=benchmark.official[0].variant,
        n=asked.n,
        expected_n=expected,
        complete=asked.n == (expected or asked.n) and not asked.missing and not asked.left_out,
        official={metric.name: asked.told(metric, _value) for metric in benchmark.official},
        authors={metric.name: asked.told(metric, _value) for metric in benchmark.authors} or None,
        ci95=ends,
        notes=[*_on_questions(asked, part, expected), *_on_kin(asked), *_on_metrics(benchmark, asked, ends)],
    )


class _Asked:
    """The questions so far, and what the metrics keep of them."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.metrics = (*benchmark.official, *benchmark.authors)
        self.missing: list[str] = []
        self.left_out: dict[str, str] = {}
        self.scored = 0
        """Predictions that have a score."""
        self.kin = Counter[str]()
        """Name of another benchmark → questions that are of it by their fields."""
        self.lacking = Counter[str]()
        """Name of an official metric → predictions that leave out what it counts."""
        self._benchmark = benchmark
        self._kept = KeptColumns(self.metrics)
        self._images: dict[object, int] = {}
        self._image_Q: list[int] = []
        self._is_missing_Q: list[bool] = []

    @property
    def n(self) -> int:
        return len(self._image_Q)

    def add(self, block: Sequence[Annotation], given: dict[str, Prediction]) -> None:
        """Count these questions; their predictions are taken out of ``given``."""
        predictions = []
        for annotation in block:
            found = given.pop(annotation.id, None)
            self._is_missing_Q.append(found is None)
            image = annotation.images[:1] or annotation.id  # without a name of its image it shares it with none
            self._image_Q.append(self._images.setdefault(image, len(self._images)))
            if found is None:
                self.missing.append(annotation.id)
            elif found.score is not None:
                self.scored += 1
            if found is not None:
                self.lacking.update(m.name for m in self._benchmark.official if m.lacks and m.lacks(found))
            self.kin[self._benchmark.kin(annotation.truth)] += 1
            predictions.append(found or Prediction())
        self._kept.add([annotation.truth for annotation in block], predictions)

    def told(self, metric: Metric, of: Callable[[Metric, Numbers, Images], T]) -> T | dict[str, T]:
        """What is told of a metric, its columns and the images; what was not answered is wrong."""
        image_Q, is_missing_Q = np.asarray(self._image_Q), np.asarray(self._is_missing_Q)

        def told(columns_QC: Numbers, places: NDArray[np.int64]) -> T:
            if metric.value is mean and is_missing_Q[places].any():
                columns_QC = columns_QC.copy()
                columns_QC[is_missing_Q[places] & counted(columns_QC), 0] = 0.0
            return of(metric, columns_QC, image_Q[places])

        return self._kept.told(metric, told)

    def uncounted(self, metric: Metric) -> int:
        """How many questions a metric does not count."""
        return self.n - int(counted(self._kept.columns(metric)).sum())


def _part(name: str, benchmark: Benchmark, split: str | None, files: Sequence[Path]) -> str:
    if split is None:
        return named_part(files, benchmark.parts)
    if not benchmark.parts:
        raise UserError(f"--split {split}: {name} has no splits; leave --split out")
    if split not in benchmark.parts:
        known = f"it has {', '.join(benchmark.parts)}{meant(split, benchmark.parts)}"
        raise UserError(f"--split {split}: {name} has no such split; {known}")
    return split


def _files(given: Sequence[Path]) -> list[Path]:
    """The files, and those that lie in the folders."""
    found: list[Path] = []
    for path in given:
        inside = sorted(file for file in path.iterdir() if _is_annotation(file)) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path} holds no {', '.join(sorted(ANNOTATIONS))}; name the folder with the annotations")
        found += inside
    return found


def _is_annotation(path: Path) -> bool:
    return path.suffix in ANNOTATIONS and path.name[0] != "." and path.is_file()


def _questions(items: Iterator[Annotation | dict[str, str]], left_out: dict[str, str]) -> Iterator[Annotation]:
    """The questions that can be scored; of the others the reason is kept."""
    for item in items:
        if isinstance(item, dict):
            left_out[item["id"]] = item["reason"]
        else:
            yield item


def _fitting(benchmark: Benchmark, part: str, count: int) -> str:
    """Other splits that have as many questions, for the end of a message; empty where this one has."""
    fits = [name for name, known in benchmark.parts.items() if known == count]
    if not fits or part in fits:
        return ""
    return f"; {count:,} is how many {' and '.join(fits)} {'has' if len(fits) == 1 else 'have'}: say so with --split"


def _names(found: Sequence[str]) -> str:
    return some([brief(one, 40) for one in found])


def _value(metric: Metric, columns_QC: Numbers, _images_Q: Images) -> float | None:
    return number(metric, columns_QC)


def _on_questions(asked: _Asked, part: str, expected: int | None) -> Iterator[str]:
    if expected is not None and asked.n != expected:
        yield f"{asked.n:,} questions, not the {expected:,} of the published split{f' {part}' if part else ''}"
    if asked.missing:
        yield f"{len(asked.missing):,} questions have no prediction and count as wrong: {_names(asked.missing)}"
    if 0 < asked.scored < (answered := asked.n - len(asked.missing)):
        yield f"{answered - asked.scored:,} of {answered:,} predictions have no score, and are ranked on the wrong end"
    if asked.left_out:
        told = [f"{brief(name, 40)} ({brief(reason)})" for name, reason in asked.left_out.items()]
        yield f"{len(told):,} questions of the annotations are left out: {some(told)}"


def _on_kin(asked: _Asked) -> Iterator[str]:
    for name, count in asked.kin.items():
        if name:
            told = f"{count:,} of {asked.n:,} questions are of {benchmark_of(name).title} by their fields"
            yield f"{told}; `tinygptv score {name}` counts them"


def _on_metrics(benchmark: Benchmark, asked: _Asked, ends: Mapping[str, Any]) -> Iterator[str]:
    """What numbers are, beyond the field ``variant``, and which questions they leave out."""
    named = [(metric.name, metric) for metric in benchmark.official]
    answered = asked.n - len(asked.missing)
    for name, count in asked.lacking.items():
        if count < answered:
            yield f"{name}: {count:,} of {answered:,} predictions leave it out, and count as wrong"
    for name, metric in [*named, *((f"the authors' {metric.name}", metric) for metric in benchmark.authors)]:
        if metric.variant != benchmark.official[0].variant:
            yield f"{name}: {metric.variant}"
        for kind, value in _kinds(asked.told(metric, _value)).items():
            of_kind = f"{name} of {kind}" if kind else name
            if value is None:
                yield f"{of_kind} is undefined: {metric.undefined or 'no question counts'}"
            elif metric in benchmark.official and _kinds(ends[metric.name])[kind] is None:
                yield f"{of_kind} has no interval: all are of one image, or it is undefined in too many resamples"
        out = asked.uncounted(metric)
        if metric.by is None and 0 < out < asked.n:
            yield f"{name}: {out:,} of {asked.n:,} questions do not count"


def _kinds(found: Any) -> dict[str, Any]:
    """Kind of question → what was told of it; of all questions, under an empty name."""
    return found if isinstance(found, dict) else {"": found}
