"""Boxes of data of one's own: the house's rule, of which easy-VQA's boxes have their number."""

import random

import numpy as np
import pytest

from tinygptv.data.boxes import format_box, parse_box
from tinygptv.data.records import Record, Turn
from tinygptv.evaluation.benchmarks import easy_vqa
from tinygptv.evaluation.benchmarks.acc_at_iou import BENCHMARK
from tinygptv.evaluation.benchmarks.own_truth import question_truth
from tinygptv.model.answerer import Response

(METRIC,) = BENCHMARK.official


def truth_of(*answers: str):
    accepted = tuple((answer, 1.0) for answer in answers) if len(answers) > 1 else ()
    return question_truth(Record("r", "refer", (Turn("red circle", answers[0], accepted),)), 0)


def right(text: str, *answers: str) -> float:
    said = BENCHMARK.predict(truth_of(*answers), Response(text=text, tokens=1, cut=False, logprob=0.0))
    ((value,),) = METRIC.columns([truth_of(*answers)], [said])
    return value


def test_easy_vqa_is_asked_by_it():
    assert easy_vqa.BY_TASK["refer"].official == (METRIC,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{<0><0><10><6>}", 1),
        (" {<0><0><10><6>}\n", 1),
        ("{<0><0><10><5>}", 0),  # half is not more than half
        ("{<0><0><10><6>} red", 0),
        ("{<10><10><0><0>}", 0),
        ("", 0),
    ],
)
def test_more_than_half_is_right(text, expected):
    assert right(text, "{<0><0><10><10>}") == expected


def test_any_true_box_will_do_and_what_is_not_one_box_is_compared_as_text():
    assert right("{<50><50><60><60>}", "{<0><0><10><10>}", "{<50><50><60><61>}") == 1
    two = "{<0><0><10><10>}{<20><20><30><30>}"
    assert right(f" {two}", two) == 1
    assert right("{<0><0><10><10>}", two) == 0


def test_it_is_the_share_of_counted_cells_on_1000_random_boxes():
    draw = random.Random(15)

    def text():
        x1, y1 = draw.randrange(0, 30), draw.randrange(0, 30)
        return format_box((x1, y1, x1 + draw.randrange(0, 50), y1 + draw.randrange(0, 50)))

    def cells(answer):
        x1, y1, x2, y2 = parse_box(answer)
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    pairs = [(text(), text()) for _ in range(1000)]
    expected = [2 * len(cells(a) & cells(b)) > len(cells(a) | cells(b)) for a, b in pairs]
    found = [right(guess, truth) for guess, truth in pairs]
    assert found == expected
    columns = np.array(found)[:, None]
    assert METRIC.value(columns, np.ones(1000)) == sum(expected) / 1000
