"""VQA accuracy of sets of one's own: answers with weights are people, one answer has nobody to agree with."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.data.formats.vqa_files import write
from tinygptv.data.records import Record, Turn
from tinygptv.evaluation.benchmarks.own_truth import question_truth
from tinygptv.evaluation.benchmarks.seam import Prediction
from tinygptv.evaluation.benchmarks.table import benchmark_of
from tinygptv.evaluation.benchmarks.vqa_accuracy import part_of_a_file
from tinygptv.evaluation.score_files import score_files
from tinygptv.evaluation.statistics import number

BENCHMARK = benchmark_of("vqa_accuracy")


def accuracy(accepted, said):
    answer = accepted[0][0] if accepted else "cat"
    truth = question_truth(Record("1", "vqa", (Turn("what?", answer, accepted),)), 0)
    (metric,) = BENCHMARK.official
    return number(metric, metric.columns([truth], [Prediction(answer=said)]))


@pytest.mark.parametrize(("said", "expected"), [("yes", 1.0), ("No!", 0.6), ("maybe", 0.0)])
def test_weights_are_people(said, expected):
    assert accuracy((("yes", 8.0), ("no", 2.0)), said) == expected


def test_a_single_answer_is_undefined():
    assert accuracy((), "cat") is None
    assert "two people" in BENCHMARK.official[0].undefined


def test_a_task_that_a_file_leaves_out_has_no_number_and_single_answers_are_wrong():
    assert np.isnan(part_of_a_file([None, None])).all()
    assert part_of_a_file([None, 0.5]).tolist() == [[0.0], [0.5]]
    assert math.isnan(part_of_a_file([math.nan, 0.5])[0, 0])
    assert part_of_a_file([]).shape == (0, 1)


def test_submissions_are_read_as_they_are_written():
    written = BENCHMARK.write_prediction("cat-1", Prediction(answer="a cat"), {})
    assert written == {"id": "cat-1", "prediction": "a cat"}
    assert BENCHMARK.read_prediction(written) == ("cat-1", Prediction(answer="a cat"))


def test_own_questions_are_scored(tmp_path):
    people = ["black"] * 8 + ["dark"] * 2
    questions = [{"id": name, "image": f"{name}.png", "question": "what colour?", "answers": people} for name in "ab"]
    said = [{"id": "a", "prediction": "Black."}, {"id": "b", "prediction": "dark"}]
    files = [write(tmp_path / "questions.json", questions)], write(tmp_path / "p.json", said)
    assert score_files("vqa_accuracy", *files).official == {"accuracy": 0.8}
