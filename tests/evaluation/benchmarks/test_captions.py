"""Captions as a benchmark: what it is given and gives, and how it says that its package is missing."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tinygptv.config import DataSet
from tinygptv.data.records import Record, Turn
from tinygptv.evaluation.benchmarks import table
from tinygptv.evaluation.benchmarks.captions import BENCHMARK
from tinygptv.evaluation.benchmarks.own_truth import question_truth
from tinygptv.evaluation.statistics import interval, number
from tinygptv.model.answerer import Response

CIDER, BLEU_4 = BENCHMARK.official
TRUTHS = [
    {"answer": "a dog", "answers": ["a dog runs on grass", "the dog"]},
    {"answer": "a bus", "answers": ["a red bus in town"]},
]


def said(*texts):
    return [
        BENCHMARK.predict(truth, Response(text=text, tokens=1, cut=False, logprob=0.0))
        for truth, text in zip(TRUTHS, texts, strict=True)
    ]


def test_both_numbers_have_an_interval():
    truths = TRUTHS * 20
    predictions = said("a dog runs", "a red bus in town") * 20
    for metric in BENCHMARK.official:
        columns = metric.columns(truths, predictions)
        value, (low, high) = number(metric, columns), interval(metric, columns, range(40))
        assert low <= value <= high


def test_true_captions_of_ones_own_are_the_answers_that_are_right():
    turn = Turn("", "a dog", (("a dog", 2.0), ("the dog", 1.0)))
    truths = [question_truth(Record("r", "caption", (turn,)), 0), *TRUTHS]
    columns = BLEU_4.columns(
        truths, [BENCHMARK.predict(truths[0], Response(text="the dog", tokens=2, cut=False, logprob=0))] * 3
    )
    assert columns[0].tolist() == [2, 1, 0, 0, 2, 1, 0, 0, 2, 2]


def test_a_set_of_another_form_may_name_it():
    own = DataSet(format="llava", files=("a.json",), licence="MIT", benchmark="captions")
    (ask,) = table.asks_of_set("mine", own)
    assert (ask.name, ask.benchmark, ask.expected) == ("mine", BENCHMARK, None)


def test_every_caption_comes_back_from_its_submission():
    for text in ("A dog.", "", "\U0001f600" * 10_000):
        (before, _) = said(text, "")
        entry = json.loads(json.dumps(BENCHMARK.write_prediction("42", before, TRUTHS[0])))
        assert entry == {"image_id": 42, "caption": text}
        assert BENCHMARK.read_prediction(entry) == ("42", before)


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ({"image_id": 1}, KeyError, "caption"),
        ({"caption": "a"}, KeyError, "image_id"),
        ({"image_id": 1, "caption": None}, TypeError, "`caption` must be text"),
        ({"image_id": None, "caption": "a"}, TypeError, "`image_id` must be an id"),
    ],
)
def test_a_prediction_that_is_none_is_refused(entry, error, message):
    with pytest.raises(error, match=message):
        BENCHMARK.read_prediction(entry)


def test_one_image_has_no_cider_and_it_is_said_why():
    columns = CIDER.columns(TRUTHS[:1], said("a dog", "")[:1])
    assert np.isnan(columns).all()
    assert "one image" in CIDER.undefined


def test_where_the_package_is_missing_the_extra_is_named(tmp_path):
    """In a process of its own, that has no such package."""
    program = (
        "import importlib.util as u, math; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'pycocoevalcap' else find(name, *a)\n"
        "from tinygptv.evaluation.benchmarks.captions import BENCHMARK as b\n"
        "from tinygptv.evaluation.benchmarks.seam import Prediction as P\n"
        "from tinygptv.evaluation.statistics import number\n"
        "for m in b.official: print(number(m, m.columns([{'answers': ['a']}] * 3, [P()] * 3)), m.undefined)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    told = "None pycocoevalcap is not installed; pip install 'tinygptv[captions]'"
    assert done.stdout.splitlines() == [told, told]


def test_both_presets_ask_for_a_short_description():
    for preset in ("as_trained", "authors_released"):
        assert BENCHMARK.instruction(preset, "caption", "", TRUTHS[0]) == "[caption] Briefly describe this image."
