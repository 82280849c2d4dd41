"""What a profile's data sets are asked, and what is said of one that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tinygptv.config import Config, DataSet
from tinygptv.config.benchmarks import BENCHMARKS
from tinygptv.config.profiles import read_profile
from tinygptv.evaluation.benchmarks import table
from tinygptv.evaluation.benchmarks.table import asks_of, benchmark_of, labels
from tinygptv.ground.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


def profile(**sets: DataSet) -> Config:
    """A profile that asks these data sets and no other."""
    config = read_profile(ROOT, "smoke").config
    asked = config.evaluate.model_copy(update={"benchmarks": tuple(sets)})
    return config.model_copy(update={"data": {**config.data, **sets}, "evaluate": asked})


def own(**settings) -> DataSet:
    return DataSet(format="llava", files=("a.json",), licence="MIT", **settings)


@pytest.fixture
def published(monkeypatch):
    """A benchmark with two published splits and files of its own, in the place of ``exact_match``."""
    made = replace(
        benchmark_of("exact_match"),
        title="Cats",
        form="llava",
        parts={"testdev": 12578, "test": None},
        source="a paper",
    )
    monkeypatch.setattr(table, "benchmark_of", lambda _: made)


def test_easy_vqa_has_its_three_names():
    config = read_profile(ROOT, "tiny").config
    asks = asks_of(config)
    assert [(ask.name, ask.task, ask.expected) for ask in asks] == [
        ("easy_vqa", "vqa", None),
        ("easy_vqa_refer", "refer", None),
        ("easy_vqa_caption", "caption", None),
    ]
    assert labels(asks) == {
        "easy_vqa": "questions",
        "easy_vqa_refer": "boxes (Acc@0.5)",
        "easy_vqa_caption": "captions",
    }
    assert set(config.register_.gate.min_value) == {ask.name for ask in asks}


def test_a_set_without_a_benchmark_is_asked_by_task():
    asks = asks_of(profile(my_cats=own(questions=7)))
    assert {(ask.name, ask.expected) for ask in asks} >= {("my_cats", 7), ("my_cats_caption", 7)}
    assert labels(asks)["my_cats"] == "my_cats"


def test_a_set_with_a_benchmark_has_one_name():
    (ask,) = asks_of(profile(my_cats=own(benchmark="exact_match")))
    assert (ask.name, ask.task, ask.expected) == ("my_cats", None, None)


def test_a_published_split_has_its_number_of_questions(published):
    sets = {
        "first": own(benchmark="exact_match"),
        "unknown": own(benchmark="exact_match", part="test"),
        "cut": own(benchmark="exact_match", part="testdev", questions=5),
    }
    asks = asks_of(profile(**sets))
    assert [ask.expected for ask in asks] == [12578, None, 5]
    assert set(labels(asks).values()) == set(sets)
    assert labels(asks[:1]) == {"first": "Cats"}


def test_what_does_not_fit_is_said(published):
    with pytest.raises(ConfigError, match=r"data\.cats\.part: Cats has no val; it has testdev, test"):
        asks_of(profile(cats=own(benchmark="exact_match", part="val")))
    other = DataSet(format="records", files=("a.tar",), licence="MIT", benchmark="exact_match")
    with pytest.raises(
        ConfigError, match=r"data\.cats: the benchmark exact_match reads files of the form llava, not rec"
    ):
        asks_of(profile(cats=other))


def test_no_name_stands_for_two():
    with pytest.raises(ConfigError, match="cats_caption would be asked twice"):
        asks_of(profile(cats=own(), cats_caption=own()))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_of_the_table_is_there(name):
    benchmark = benchmark_of(name)
    assert benchmark.official and benchmark.title and benchmark.source
    names = [metric.name for metric in benchmark.official]
    assert len(set(names)) == len(names)
