"""The table of benchmarks: what is asked of the data sets of a profile, and how it counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from tinygptv.config.benchmarks import BENCHMARKS, BY_TASK, reported_as
from tinygptv.evaluation.benchmarks import easy_vqa
from tinygptv.ground.errors import ConfigError

if TYPE_CHECKING:
    from tinygptv.config import Config, DataSet, Task
    from tinygptv.evaluation.benchmarks.seam import Benchmark

BY_FORM: Mapping[str, Mapping[Task, Benchmark]] = {"easy_vqa": easy_vqa.BY_TASK}
"""Form of a data set's files → task → its benchmark, where a form is made for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Records of a data set that are asked, and the benchmark by which the answers count."""

    name: str
    """In reports, gates and pictures."""
    dataset: str
    task: Task | None
    """Of its records; None: they are asked whatever their task is."""
    benchmark: Benchmark
    expected: int | None = None
    """Questions of the data set's test split, by whatever names they are asked; None: any number."""


@cache
def benchmark_of(name: str) -> Benchmark:
    """The benchmark of this name in ``config/benchmarks.py``."""
    found: Benchmark = import_module(BENCHMARKS[name]).BENCHMARK
    return found


def asks_of(config: Config) -> tuple[Ask, ...]:
    """What is asked of the data sets that a profile's `evaluate.benchmarks` names, in its order.

    A set that names a benchmark is asked by its own name; another one by its name for questions, and by
    ``NAME_<task>`` for boxes and captions.

    Raises:
        ConfigError: a set's files are not of its benchmark's form, its part is none of the benchmark's, or a name
            would stand for two.
    """
    found: dict[str, Ask] = {}
    for dataset in config.evaluate.benchmarks:
        for ask in asks_of_set(dataset, config.data[dataset]):
            if ask.name in found:
                raise ConfigError(f"evaluate.benchmarks: {ask.name} would be asked twice; rename a data set")
            found[ask.name] = ask
    return tuple(found.values())


def labels(asks: Iterable[Ask]) -> dict[str, str]:
    """Name of each → what pictures call it: the title of a published benchmark that is there once, else the name."""
    asks = tuple(asks)
    titles = [ask.benchmark.title for ask in asks]
    return {
        ask.name: ask.benchmark.title if ask.benchmark.form and titles.count(ask.benchmark.title) == 1 else ask.name
        for ask in asks
    }


def asks_of_set(dataset: str, settings: DataSet) -> Iterator[Ask]:
    """What is asked of a data set: all by the benchmark that it names, or each task by its own.

    Raises:
        ConfigError: its files are not of its benchmark's form, or its part is none of the benchmark's.
    """
    if settings.benchmark is not None:
        benchmark = benchmark_of(settings.benchmark)
        if benchmark.form and settings.format != benchmark.form and not benchmark.own_data:
            raise ConfigError(
                f"data.{dataset}: the benchmark {settings.benchmark} reads files of the form {benchmark.form}, not "
                f"{settings.format}; name a benchmark for data of your own (docs/evaluation.md)"
            )
        expected = settings.questions or _published(dataset, settings.part, benchmark)
        yield Ask(name=reported_as(dataset, None), dataset=dataset, task=None, benchmark=benchmark, expected=expected)
        return
    by_task = BY_FORM.get(settings.format) or {
        task: benchmark_of(name) for task, name in BY_TASK.items() if name in BENCHMARKS
    }
    for task, benchmark in by_task.items():
        name = reported_as(dataset, task)
        yield Ask(name=name, dataset=dataset, task=task, benchmark=benchmark, expected=settings.questions)


def _published(dataset: str, part: str | None, benchmark: Benchmark) -> int | None:
    """How many questions the published split has; None where that is not known."""
    if not benchmark.parts:
        return None
    name = part or next(iter(benchmark.parts))
    if name not in benchmark.parts:
        raise ConfigError(f"data.{dataset}.part: {benchmark.title} has no {name}; it has {', '.join(benchmark.parts)}")
    return benchmark.parts[name]
