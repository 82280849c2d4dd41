"""What a report holds of answers, and how it is said in one line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.asked import ASKS, question, said
from tinygptv.evaluation import scores, tally
from tinygptv.evaluation.baselines import Baselines
from tinygptv.evaluation.benchmarks.exact_match import BENCHMARK, EXACT_MATCH
from tinygptv.evaluation.benchmarks.seam import Metric
from tinygptv.evaluation.benchmarks.table import Ask
from tinygptv.evaluation.scores import Judge

BASELINES = {
    "easy_vqa": Baselines("training", "red", {}),
    "easy_vqa_caption": Baselines("training", "a red circle", {}),
}
COLOUR = question("vqa", "what color?", "blue")
CAPTION = question("caption", "", "a blue circle", image=1)
BOX = question("refer", "cat", "{<1><1><5><5>}", image=2)


def judged(*answers, asks=ASKS, baselines=BASELINES):
    judge = Judge(asks, baselines, "as_trained")
    for asked, response in answers:
        judge.add(asked, response)
    return judge


def test_a_report_has_benchmarks_and_types():
    found = judged((COLOUR, said("blue")), (CAPTION, said("a red circle", cut=True))).result()
    assert list(found) == ["benchmarks", "by_type"]
    assert found["benchmarks"]["easy_vqa"] == {
        "metric": "exact match",
        "value": 1.0,
        "n": 1,
        "ci95": [0.206549, 1.0],
        "majority": 0.0,
        "blind": 0.0,
        "trivial": None,
        "cut": 0,
        "variant": EXACT_MATCH.variant,
        "official": {"exact match": 1.0},
        "authors": None,
        "authors_ci95": None,
        "chance": None,
        "expected": None,
        "excluded": 0,
        "preset": "as_trained",
        "baselines_of": "training",
    }
    caption = found["benchmarks"]["easy_vqa_caption"]
    assert (caption["value"], caption["cut"], caption["trivial"], caption["majority"]) == (0.0, 1, 0.0, None)
    assert list(found["by_type"]) == ["what-colour"]
    assert set(found["by_type"]["what-colour"]) == {"metric", "value", "n", "ci95", "majority", "blind", "trivial"}


def test_the_same_in_one_line_and_as_numbers():
    found = judged((COLOUR, said("blue")), (CAPTION, said("a red circle", cut=True))).result()["benchmarks"]
    assert scores.values(found) == {"easy_vqa": 1.0, "easy_vqa_caption": 0.0}
    assert scores.for_run(found, "stage1.") == {
        "stage1.easy_vqa": 1.0,
        "stage1.easy_vqa_caption": 0.0,
        "stage1.easy_vqa.cut": 0,
        "stage1.easy_vqa_caption.cut": 1,
    }
    assert scores.line(found) == (
        "easy_vqa 1.0000 (majority 0.0000, blind 0.0000, n 1), "
        "easy_vqa_caption 0.0000 (trivial 0.0000, n 1, 1 cut at evaluate.max_new_tokens)"
    )


def test_boxes_are_judged_by_overlap_and_a_truth_that_is_no_box_as_text():
    two = "{<1><1><5><5>} {<6><6><9><9>}"
    answers = [
        (BOX, said("{<1><1><5><4>}")),
        (BOX, said("it is {<1><1><5><5>}")),
        (question("refer", "cats", two), said(two)),
        (question("refer", "cats", two), said("{<1><1><5><5>}")),
    ]
    columns = judged(*answers).columns("easy_vqa_refer")
    assert columns.columns_QC[:, 0].tolist() == [1, 0, 1, 0]
    assert [columns.images_Q[0] == image for image in columns.images_Q] == [True, True, False, False]


def test_blocks_do_not_change_a_number(monkeypatch):
    answers = [(question("vqa", "q", "a", image=n // 3), said("a" if n % 7 else "b")) for n in range(50)]
    whole = judged(*answers).result()
    monkeypatch.setattr(tally, "BLOCK", 8)
    assert judged(*answers).result() == whole
    assert whole["benchmarks"]["easy_vqa"]["value"] == round(42 / 50, 6)


def test_more_answers_can_follow_a_result():
    judge = judged((COLOUR, said("blue")))
    assert judge.result()["benchmarks"]["easy_vqa"]["value"] == 1.0
    judge.add(COLOUR, said("red"))
    entry = judge.result()["benchmarks"]["easy_vqa"]
    assert (entry["value"], entry["n"], entry["majority"]) == (0.5, 2, 0.0)


def test_no_questions_no_entries_and_no_baselines_none():
    assert judged().result() == {"benchmarks": {}, "by_type": {}}
    entry = judged((COLOUR, said("blue")), baselines={}).result()["benchmarks"]["easy_vqa"]
    assert [entry[key] for key in ("value", "majority", "blind", "trivial", "baselines_of")] == [1.0, *[None] * 4]


def lax(answers, predictions):
    return np.array([[float(t["answer"] in p.answer)] for t, p in zip(answers, predictions, strict=True)])


def some_count(answers, predictions):
    return np.array([[np.nan if p.answer == "?" else float(p.answer == "yes")] for p in predictions])


MANY = Ask(
    name="cats",
    dataset="cats",
    task=None,
    benchmark=replace(
        BENCHMARK,
        official=(
            Metric(name="some", variant="v", columns=some_count, value=EXACT_MATCH.value),
            replace(EXACT_MATCH, name="per_kind", by=lambda truth: "short" if len(truth["answer"]) < 3 else "long"),
            replace(EXACT_MATCH, name="all", whole=True),
            replace(EXACT_MATCH, name="never", value=lambda *_: float("nan"), undefined="always"),
        ),
        authors=(replace(EXACT_MATCH, name="substring", columns=lax),),
        chance=lambda truth: 0.5,
    ),
    expected=3,
)


def test_other_metrics_stand_beside_and_undefined_numbers_are_null():
    asked = [question("vqa", "q", answer, ask=MANY) for answer in ("yes", "no", "cat")]
    answers = zip(asked, [said("yes"), said("?"), said("a cat")], strict=True)
    found = judged(*answers, asks=(MANY,)).result()["benchmarks"]
    entry = found["cats"]
    assert entry["official"] == {
        "some": 0.5,
        "per_kind": {"long": 0.5, "short": 0.0},
        "all": pytest.approx(1 / 3, abs=1e-6),
        "never": None,
    }
    assert entry["authors"] == {"substring": pytest.approx(2 / 3, abs=1e-6)}
    assert (entry["n"], entry["excluded"], entry["expected"], entry["chance"]) == (2, 1, 3, 0.5)
    assert scores.for_run(found) == {
        "cats": 0.5,
        "cats.cut": 0,
        "cats.all": entry["official"]["all"],
        "cats.authors.substring": entry["authors"]["substring"],
    }
    assert "chance 0.5000, n 2, 1 do not count" in scores.line(found)


def test_a_number_that_is_undefined_is_said():
    ask = replace(MANY, benchmark=replace(BENCHMARK, official=MANY.benchmark.official[3:]))
    found = judged((question("vqa", "q", "yes", ask=ask), said("yes")), asks=(ask,)).result()["benchmarks"]
    assert (found["cats"]["value"], found["cats"]["ci95"]) == (None, None)
    assert scores.line(found).startswith("cats undefined (n 1")


def test_kinds_that_two_benchmarks_share_stand_for_each():
    other = replace(ASKS[0], name="other")
    answers = [(COLOUR, said("blue")), (question("vqa", "what color?", "red", ask=other), said("blue"))]
    found = judged(*answers, asks=(*ASKS, other)).result()["by_type"]
    assert {kind: entry["value"] for kind, entry in found.items()} == {
        "easy_vqa what-colour": 1.0,
        "other what-colour": 0.0,
    }


def test_an_answer_counts_by_itself():
    asked = question("vqa", "q", "yes", ask=MANY)
    assert tally.credit(MANY.benchmark, asked.annotation, said("yes")) == 1.0
    assert tally.credit(MANY.benchmark, asked.annotation, said("?")) == 0.0  # by the next metric
    never = replace(MANY.benchmark, official=MANY.benchmark.official[3:])
    assert tally.credit(never, asked.annotation, said("yes")) is None


def test_a_metric_that_gives_a_true_answer_nothing_by_itself_has_no_number_of_one():
    nothing = replace(EXACT_MATCH, whole=True, value=lambda *_: 0.0)
    together = replace(BENCHMARK, official=(nothing, EXACT_MATCH))
    assert tally.credit(together, COLOUR.annotation, said("blue")) is None
    whole = replace(BENCHMARK, official=(replace(EXACT_MATCH, whole=True),))
    assert tally.credit(whole, COLOUR.annotation, said("red")) == 0.0
