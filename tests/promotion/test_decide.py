"""The gate's table: every way in, every way to be refused."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from tinygptv.config import Gate
from tinygptv.evaluation.benchmarks.exact_match import EXACT_MATCH
from tinygptv.evaluation.tally import DecidingColumns
from tinygptv.promotion.decide import Asked, Decision, Measured, not_measured, on_contest, on_report
from tinygptv.promotion.registered import Registered, registered_numbers

GATE = Gate(
    min_value={"easy_vqa": 0.9},
    margin={"easy_vqa": 0.02},
    resamples=1000,
    seed=1,
    min_agreement=0.95,
    max_bytes=1000,
    max_latency_seconds=0.5,
)
N = 200
AS, NAN = "easy_vqa as registered: the version carries ", ", which is not a number"
ASKED = Asked(count=N, digest="all")


def measured(right=194, **others):
    right = [place < right for place in range(N)] if isinstance(right, int) else right
    columns = {"easy_vqa": DecidingColumns(EXACT_MATCH, np.asarray(right, float)[:, None], range(N))}
    values = {"answered": N, "digest": "all", "columns": columns, "package_bytes": 1000, "latency_seconds": 0.5}
    return Measured(**{**values, "agreement": 0.99, **others})


def registered(value=0.97, n=N, **start):
    return Registered({"easy_vqa": value}, {"easy_vqa": n}, start)


def decide(challenger, champion=None, told=None, former=None, gate=GATE, asked=ASKED):
    return Decision(on_contest(asked, challenger, champion, told or registered(), former or registered(), gate))


def report(value=0.97, n=100, agreement=0.99):
    return {"benchmarks": {"easy_vqa": {"value": value, "n": n}}, "agreement": agreement}


@pytest.mark.parametrize(
    ("challenger", "champion", "told", "former"),
    [
        (measured(), None, None, None),
        (measured(180, agreement=0.95), None, registered(0.9), None),
        (measured(), measured(), None, None),
        (measured(193), measured(194), registered(0.965), None),  # within the margin
        (measured(200), measured(180), registered(1), registered(0.9)),
        (measured(), measured(), None, registered(n=N - 1)),
    ],
)
def test_passes(challenger, champion, told, former):
    decision = decide(challenger, champion, told, former)
    assert decision.passed, decision.reasons
    assert decision.reasons == ()


@pytest.mark.parametrize(
    ("challenger", "champion", "told", "former", "reason"),
    [
        (measured(179), None, registered(0.895), None, "easy_vqa: 0.8950 is below 0.9000"),
        (measured(), None, registered(math.nan), None, AS + "nan" + NAN),
        (measured(), None, registered(math.inf), None, AS + "inf" + NAN),
        (measured(), None, registered(True), None, AS + "True" + NAN),
        (measured(), None, Registered(), None, AS + "None" + NAN),
        (measured(), None, registered(0.9999), None, AS + "0.9999, measured were 0.9700"),
        (measured(agreement=0.9), None, None, None, "agreement: 0.9000 is below 0.9500"),
        (measured(agreement=math.nan), None, None, None, "agreement: value nan is not a number"),
        (measured(agreement=None), None, None, None, "agreement: value None is not a number"),
        (measured(package_bytes=1001), None, None, None, "bytes: 1,001 bytes are more than 1,000"),
        (measured(latency_seconds=0.51), None, None, None, "latency: 0.510 seconds a question are more than 0.500"),
        (measured(latency_seconds=math.nan), None, None, None, "latency: value nan is not a time"),
        (measured(answered=N - 1), None, None, None, "questions: the challenger answered 199 of 200 questions"),
        (measured(), measured(digest="others"), None, None, "questions: the champion answered other questions"),
        (measured(), measured(), None, registered(n=N + 1), "easy_vqa samples: 200 samples, the champion had 201"),
        (
            measured(),
            measured(),
            None,
            Registered(),
            "easy_vqa samples: the champion's version carries no count of samples (None); "
            "delete its alias to start afresh",
        ),
    ],
)
def test_refuses(challenger, champion, told, former, reason):
    decision = decide(challenger, champion, told, former)
    assert not decision.passed
    assert reason in decision.reasons


def test_refuses_what_may_be_worse_than_the_margin():
    decision = decide(measured(181), measured(200), registered(0.905))
    (reason,) = decision.reasons
    assert reason.startswith("easy_vqa against champion: difference -0.0950, 95 % -0.1")
    assert reason.endswith(": may be worse by more than 0.0200")
    row = next(row for row in decision.rows if row.check == "easy_vqa against champion")
    assert row.limit == -0.02 and row.value < -0.095


def test_a_better_value_on_few_questions_is_not_enough():
    """One more right answer of 200, but twenty given and nineteen taken: that is noise."""
    challenger = measured([place >= 19 for place in range(N)])
    champion = measured([not 60 <= place < 80 for place in range(N)])
    decision = decide(challenger, champion, registered(0.905))
    assert [reason.partition(":")[0] for reason in decision.reasons] == ["easy_vqa against champion"]


def test_a_benchmark_that_nobody_asked():
    assert "easy_vqa: no question of this benchmark was asked" in decide(measured(columns={})).reasons
    nothing = decide(measured(answered=0, columns={}), asked=Asked(count=0, digest="all"))
    assert nothing.reasons == ("questions: there is no question",)


def test_latency_is_shown_where_it_is_not_judged():
    decision = decide(measured(latency_seconds=60), gate=GATE.model_copy(update={"max_latency_seconds": None}))
    assert decision.passed
    assert decision.rows[-1].note == "not judged"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (report(0.899), "easy_vqa: 0.8990 is below 0.9000"),
        (report(math.nan), "easy_vqa: value nan is not a number"),
        (report("0.99"), "easy_vqa: value 0.99 is not a number"),
        (report(n=0), "easy_vqa: n 0 is not a count of samples"),
        (report(n=math.nan), "easy_vqa: n nan is not a count of samples"),
        ({"agreement": 1.0}, "easy_vqa: the benchmark is missing"),
        ({"benchmarks": [], "agreement": 1.0}, "easy_vqa: the benchmark is missing"),
        (report(agreement=0.9), "agreement: 0.9000 is below 0.9500"),
    ],
)
def test_a_report_without_a_champion(content, reason):
    decision = Decision(on_report(content, 1000, GATE))
    assert not decision.passed
    assert reason in decision.reasons


def test_a_good_report_passes():
    assert Decision(on_report(report(agreement={"value": 0.99, "n": 5}), 1000, GATE)).passed
    assert Decision(on_report(report(), 1001, GATE)).reasons == ("bytes: 1,001 bytes are more than 1,000",)


def test_champion_and_start_stand_beside_the_value_and_are_not_judged():
    told = registered(easy_vqa=0.03)
    reached, *others = decide(measured(), measured(193), told).rows[1:]
    assert (reached.value, reached.champion, reached.start, reached.ok) == (0.97, 0.965, 0.03, True)
    assert {(row.champion, row.start) for row in others} == {(None, None)}
    alone = decide(measured(), None, registered(easy_vqa="0.03"))
    assert (alone.rows[1].champion, alone.rows[1].start) == (None, None)
    (reached, *_) = on_report(report(), 1000, GATE, {"easy_vqa": 0.03})
    assert (reached.value, reached.start) == (0.97, 0.03)


def test_nothing_checked_is_nothing_passed():
    assert Decision(()).reasons == ("nothing was checked",)
    assert not Decision((not_measured("champion", "damaged"),)).passed


def test_numbers_of_tags_that_contradict_one_another():
    found = registered_numbers(report(0.97), {"easy_vqa": "0.99"})
    assert found.values == {"easy_vqa": "0.97 and 0.99"}
    assert registered_numbers(report(0.97), {"easy_vqa": "0.97"}).values == {"easy_vqa": 0.97}
    assert registered_numbers({"benchmarks": "none"}, {}) == Registered({}, {})


def test_the_gate_of_a_configuration_names_each_benchmark_twice():
    with pytest.raises(ValidationError, match="must name the same benchmarks"):
        Gate(**{**GATE.model_dump(), "margin": {"easy_vqa_refer": 0.1}})
    with pytest.raises(ValidationError, match="at least one"):
        Gate(**{**GATE.model_dump(), "min_value": {}, "margin": {}})


def test_rows_as_json_have_value_and_limit():
    rows = decide(measured(), measured()).as_json()["rows"]
    assert [row["check"] for row in rows] == [
        "questions",
        "easy_vqa",
        "easy_vqa as registered",
        "easy_vqa against champion",
        "easy_vqa samples",
        "agreement",
        "bytes",
        "latency",
    ]
