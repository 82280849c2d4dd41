"""RefCOCO, RefCOCO+, RefCOCOg: the official rule of overlap and the authors', against slow transcriptions of both."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest

from tinygptv.evaluation.benchmarks.seam import Prediction
from tinygptv.evaluation.benchmarks.table import benchmark_of
from tinygptv.model.answerer import Response

BENCHMARK = benchmark_of("refcoco")
(OFFICIAL,), (AUTHORS,) = BENCHMARK.official, BENCHMARK.authors
TRUTH = {"answer": "{<10><10><60><60>}", "bbox": [20.0, 10.0, 100.0, 50.0], "width": 200, "height": 100}


def said(text: str, truth=TRUTH) -> Prediction:
    return BENCHMARK.predict(truth, Response(text=text, tokens=1, cut=False, logprob=0.0))


def value(metric, predictions, truths=None) -> float:
    columns = metric.columns(truths or [TRUTH] * len(predictions), predictions)
    return metric.value(columns, np.ones(len(columns)))


def slow_official(truth, box) -> bool:
    """The cells of both boxes, whose edges lie on quarters of pixels, counted one by one."""
    cells = [
        {
            (x, y)
            for x in range(round(4 * left), round(4 * (left + width)))
            for y in range(round(4 * top), round(4 * (top + height)))
        }
        for left, top, width, height in (truth, box)
    ]
    either = cells[0] | cells[1]
    return bool(either) and 2 * len(cells[0] & cells[1]) >= len(either)


def slow_authors(truth, text) -> bool:
    """The published script step by step (MiniGPT-v2, ``eval_ref.py`` and ``eval_utils.py``), in other words."""
    text = text.replace("<unk>", "").replace(" ", "").strip()
    if re.match(r"\{<\d{1,3}><\d{1,3}><\d{1,3}><\d{1,3}>\}", text) is None:
        return False
    digits = [int(found) for found in re.findall(r"\d+", text)]
    try:
        ax, ay, bx, by = digits
    except ValueError:
        return False
    ax, bx = ax / 100.0 * truth["width"], bx / 100.0 * truth["width"]
    ay, by = ay / 100.0 * truth["height"], by / 100.0 * truth["height"]
    left, top, wide, high = truth["bbox"]
    inner = max(0, min(bx, left + wide) - max(ax, left) + 1) * max(0, min(by, top + high) - max(ay, top) + 1)
    outer = (bx - ax + 1) * (by - ay + 1) + (left + wide - left + 1) * (top + high - top + 1) - inner
    try:
        return inner / outer > 0.5
    except ZeroDivisionError:
        return False


def test_the_official_rule_is_that_of_counted_cells_on_1000_random_boxes():
    draw = random.Random(15)

    def box():
        return [
            draw.randrange(0, 6) / 4,
            draw.randrange(0, 6) / 4,
            draw.randrange(0, 20) / 4,
            draw.randrange(8, 20) / 4,
        ]

    pairs = [(box(), box()) for _ in range(1000)]
    truths = [{**TRUTH, "bbox": truth} for truth, _ in pairs]
    found = OFFICIAL.columns(truths, [Prediction(box=tuple(guess)) for _, guess in pairs])[:, 0]
    expected = [slow_official(*pair) for pair in pairs]
    assert found.tolist() == expected
    assert 100 < sum(expected) < 900


def test_the_authors_rule_is_that_of_their_script_on_1000_random_answers():
    draw = random.Random(16)
    ends = ["", " ", "<unk>", "###Human: ", " the man", "{<1><2><3><4>}", " 2 men", "\n"]
    starts = ["", " ", "<unk>", "a ", "<p>man</p> "]

    def answer():
        edges = [draw.randrange(0, 120) for _ in range(4)]
        if draw.random() < 0.9:
            edges = [edges[0] // 4, edges[1] // 4, 60 + edges[2] // 4, 60 + edges[3] // 4]
        text = "{" + "".join(f"<{edge}>" for edge in edges) + "}"
        written = draw.choice([text, text, text, text.replace("><", "> <"), text[:-1]])
        return f"{draw.choice(starts) if draw.random() < 0.5 else ''}{written}{draw.choice(ends)}"

    truths = [
        {"bbox": [draw.uniform(0, 40), draw.uniform(0, 20), draw.uniform(80, 180), draw.uniform(40, 80)],
         "width": draw.randrange(150, 250), "height": draw.randrange(80, 120)}
        for _ in range(1000)
    ]  # fmt: skip
    answers = [answer() for _ in truths]
    found = AUTHORS.columns(truths, [said(text, truth) for text, truth in zip(answers, truths, strict=True)])[:, 0]
    expected = [slow_authors(truth, text) for truth, text in zip(truths, answers, strict=True)]
    assert found.tolist() == expected
    assert 100 < sum(expected) < 900


def test_half_an_overlap_is_right_officially_and_wrong_to_the_authors_but_for_their_pixels():
    half = Prediction(box=(20.0, 10.0, 50.0, 50.0))
    assert value(OFFICIAL, [half]) == 1.0
    assert value(AUTHORS, [half]) == 1.0, "51 x 51 of 101 x 51 pixels are more than half"
    just_below = Prediction(box=(20.0, 10.0, 49.9, 50.0))
    assert value(OFFICIAL, [just_below]) == 0.0
    assert value(AUTHORS, [just_below]) == 1.0


def test_an_answer_in_hundredths_becomes_pixels_of_the_image():
    assert said("{<10><10><60><60>}").box == (20.0, 10.0, 100.0, 50.0)
    assert said(" {<0><0><100><100>}\n").box == (0.0, 0.0, 200.0, 100.0)
    assert said("{<7><0><100><100>}").box == (14.0, 0.0, 186.0, 100.0), "no rounding where none is needed"


@pytest.mark.parametrize(
    "text",
    ["", "the man", "a {<10><10><60><60>}", "{<10><10><60><60>} and on", "{<60><10><10><60>}", "{<10><60><60><10>}"],
)
def test_other_answers_have_no_box_and_are_wrong(text):
    assert said(text).box is None
    assert value(OFFICIAL, [said(text)]) == 0.0


def test_the_authors_pass_over_what_follows_the_box_unless_it_has_a_number():
    assert value(AUTHORS, [said("{<10><10><60><60>} and on")]) == 1.0
    assert value(AUTHORS, [said("{<10> <10><60><60>}<unk>")]) == 1.0
    assert value(AUTHORS, [said("{<10><10><60><60>}{<1><2><3><4>}")]) == 0.0
    assert value(AUTHORS, [Prediction()]) == 0.0
    assert value(AUTHORS, [said("{<10><10><60><60>}" + "9" * 10_000), said("1" * 10_000)]) == 0.0


def test_every_answer_comes_back_from_its_submission():
    for text in ("{<10><10><60><60>}", "nothing", "{<33><1><67><99>}"):
        before = said(text)
        entry = json.loads(json.dumps(BENCHMARK.write_prediction("12", before, TRUTH)))
        assert (entry["sent_id"], entry["answer"]) == (12, text)
        assert BENCHMARK.read_prediction(entry) == ("12", before)
    assert BENCHMARK.write_prediction("img#2", Prediction(), TRUTH) == {"sent_id": "img#2", "bbox": None}


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ({"sent_id": 1}, KeyError, "bbox"),
        ({"bbox": [1, 2, 3, 4]}, KeyError, "sent_id"),
        ({"sent_id": True, "bbox": None}, TypeError, "`sent_id` must be an id"),
        ({"sent_id": 1, "bbox": [1, 2, 3]}, ValueError, "four numbers"),
        ({"sent_id": 1, "bbox": "1,2,3,4"}, ValueError, "four numbers"),
        ({"sent_id": 1, "bbox": [1, 2, float("nan"), 4]}, ValueError, "not finite"),
        ({"sent_id": 1, "bbox": [1, 2, 3, -4]}, ValueError, "negative width or height"),
        ({"sent_id": 1, "bbox": None, "answer": 3}, TypeError, "`answer` must be text"),
    ],
)
def test_a_prediction_that_is_none_is_refused(entry, error, message):
    with pytest.raises(error, match=message):
        BENCHMARK.read_prediction(entry)


def test_the_published_splits_have_their_counts():
    parts = {name: dict(benchmark_of(name).parts) for name in ("refcoco", "refcoco_plus", "refcocog")}
    assert parts == {
        "refcoco": {"val": 10834, "testA": 5657, "testB": 5095},
        "refcoco_plus": {"val": 10758, "testA": 5726, "testB": 4889},
        "refcocog": {"val": 4896, "test": 9602},
    }
    assert all(next(iter(of)) == "val" for of in parts.values())
    assert sum(of["val"] for of in parts.values()) == 26488


def test_both_presets_ask_in_the_authors_words():
    for preset in ("as_trained", "authors_released"):
        asked = BENCHMARK.instruction(preset, "refer", "the {} man", TRUTH)
        assert asked == "[refer] give me the location of the {} man"
