"""Equal text, and how it is asked."""

import numpy as np
import pytest

from tinygptv.data.records import Record, Turn
from tinygptv.evaluation.benchmarks.exact_match import BENCHMARK
from tinygptv.evaluation.benchmarks.own_truth import question_truth
from tinygptv.model.answerer import Response

(METRIC,) = BENCHMARK.official


@pytest.mark.parametrize(("text", "right"), [(" blue\n", 1), ("navy", 1), ("Blue", 0), ("blue.", 0), ("", 0)])
def test_any_right_answer_counts_and_nothing_else(text, right):
    record = Record("r", "vqa", (Turn("what color?", "blue", (("blue", 0.8), ("navy", 0.2))),))
    truth = question_truth(record, 0)
    said = BENCHMARK.predict(truth, Response(text=text, tokens=1, cut=False, logprob=0.0))
    assert METRIC.columns([truth], [said]).tolist() == [[right]]


def test_its_number_is_the_mean():
    columns = np.array([[1.0], [0.0], [0.0]])
    assert METRIC.value(columns, np.array([2, 1, 1])) == 0.5
    assert np.isnan(METRIC.value(columns, np.zeros(3)))


def test_a_truth_is_what_the_files_of_a_benchmark_say_else_the_turn():
    turns = (Turn("a?", "yes"), Turn("b?", "no"))
    assert question_truth(Record("r", "vqa", turns), 1) == {"answer": "no", "answers": {"no": 1.0}}
    assert question_truth(Record("r", "vqa", turns, annotation={"answer": "x"}), 1) == {"answer": "x"}


def test_the_words_are_those_of_the_task_and_the_authors_ask_for_a_short_answer():
    assert BENCHMARK.instruction("as_trained", "vqa", "why?", {}) == "[vqa] why?"
    assert BENCHMARK.instruction("authors_released", "vqa", "why?", {}) == (
        "[vqa] Based on the image, respond to this question with a short answer: why?"
    )
    assert BENCHMARK.instruction("authors_released", "refer", "cat", {}) == "[refer] give me the location of cat"
