"""A score for people, to the letter."""

from tinygptv.evaluation.score_files import FileScore
from tinygptv.evaluation.score_table import table

SCORE = FileScore(
    benchmark="small",
    variant="equal text",
    n=3,
    expected_n=1234,
    complete=False,
    official={"accuracy": 2 / 3, "auroc": None, "per_kind": {"one": 1.0, "two": None}},
    authors={"accuracy": 1.0, "loss": 0.25},
    ci95={"accuracy": (0.20765, 0.9385), "auroc": None, "per_kind": {"one": (0.5, 1.0), "two": None}},
    notes=["auroc is undefined: one class alone"],
)
SHOWN = """\
small: 3 of 1,234 questions, not complete

               official  95 % interval  authors
accuracy         0.6667  0.2077-0.9385   1.0000
auroc         undefined
per_kind one     1.0000  0.5000-1.0000
per_kind two  undefined
loss                                     0.2500

accuracy: equal text
auroc is undefined: one class alone"""


def test_official_numbers_the_authors_beside_them_and_the_notes():
    assert table(SCORE) == SHOWN


def test_without_authors_and_without_a_published_count():
    shown = table(FileScore(**{**SCORE.as_json(), "authors": None, "expected_n": None, "complete": True, "notes": []}))
    assert shown.splitlines()[0] == "small: 3 questions"
    assert "authors" not in shown and shown.endswith("accuracy: equal text")
