"""The gate's table: every way in, every way to be refused."""

import math

import pytest

from tinygptv.config import Gate
from tinygptv.tracking.gate import decide

GATE = Gate(min_value={"easy_vqa": 0.9}, max_drop=0.01, min_agreement=0.95)


def report(value=0.97, n=100, agreement=0.99, **others):
    return {"benchmarks": {"easy_vqa": {"value": value, "n": n}, **others}, "agreement": agreement}


@pytest.mark.parametrize(
    ("challenger", "champion"),
    [
        (report(), None),
        (report(0.9, agreement=0.95), None),
        (report(0.97), report(0.97)),
        (report(0.96), report(0.97)),  # exactly max_drop below
        (report(0.99, n=200), report(0.97, n=100)),
        (report(1, refer={"value": 0.5, "n": 10}), report()),
        (report(agreement={"value": 0.99, "n": 100}), None),
    ],
)
def test_passes(challenger, champion):
    decision = decide(challenger, champion, GATE)
    assert decision.passed, decision.reasons
    assert decision.reasons == ()


@pytest.mark.parametrize(
    ("challenger", "champion", "reason"),
    [
        (report(0.899), None, "easy_vqa: 0.8990 is below 0.9000"),
        (report(math.nan), None, "easy_vqa: value nan is not a number"),
        (report(math.inf), None, "easy_vqa: value inf is not a number"),
        (report(None), None, "easy_vqa: value None is not a number"),
        (report("0.99"), None, "easy_vqa: value 0.99 is not a number"),
        (report(True), None, "easy_vqa: value True is not a number"),
        (report(n=0), None, "easy_vqa: n 0 is not a count of samples"),
        (report(n=None), None, "easy_vqa: n None is not a count of samples"),
        (report(n=math.nan), None, "easy_vqa: n nan is not a count of samples"),
        ({"agreement": 1.0}, None, "easy_vqa: the benchmark is missing"),
        ({"benchmarks": {}, "agreement": 1.0}, None, "easy_vqa: the benchmark is missing"),
        (report(agreement=0.9), None, "agreement: 0.9000 is below 0.9500"),
        (report(agreement=math.nan), None, "agreement: value nan is not a number"),
        (report(agreement=None), None, "agreement: value None is not a number"),
        (
            report(0.95),
            report(0.97),
            "easy_vqa against champion: 0.9500 is more than 0.0100 below the champion's 0.9700",
        ),
        (report(0.99, n=99), report(0.97, n=100), "easy_vqa samples: 99 samples, the champion had 100"),
        (report(), report(refer={"value": 0.5, "n": 10}), "refer against champion: the benchmark is missing"),
        (
            report(refer={"value": math.nan, "n": 10}),
            report(refer={"value": 0.5, "n": 10}),
            "refer against champion: value nan is not a number",
        ),
        (report(), {}, "champion: its version carries no numbers to compare with; delete its alias to start afresh"),
    ],
)
def test_refuses(challenger, champion, reason):
    decision = decide(challenger, champion, GATE)
    assert not decision.passed
    assert reason in decision.reasons


def test_rows_show_value_and_limit_of_every_check():
    decision = decide(report(0.95), report(0.97), GATE)
    rows = {row.check: (row.value, row.ok) for row in decision.rows}
    assert rows == {
        "easy_vqa": (0.95, True),
        "agreement": (0.99, True),
        "easy_vqa against champion": (0.95, False),
        "easy_vqa samples": (100, True),
    }
    assert {row["check"] for row in decision.as_json()["rows"]} == set(rows)
