"""Metrics against published and hand-computed values."""

import pytest

from tinygptv.evaluation.metrics import agreement, benchmark, exact_match


def test_matching_is_strict():
    assert exact_match(" red\n", "red")
    for wrong in ("Red", "red.", "red circle", "", "re d", "[red]"):
        assert not exact_match(wrong, "red"), wrong


def test_agreement():
    assert agreement(["a", "b", "c", "d"], ["a", "b", "c", "x"]) == 0.75
    with pytest.raises(ValueError, match="cannot compare"):
        agreement(["a"], ["a", "b"])


def test_benchmark_has_the_shape_of_the_reports():
    assert benchmark("exact match", [True, False, True], majority=1 / 3) == {
        "metric": "exact match",
        "value": 0.666667,
        "n": 3,
        "ci95": [0.20766, 0.938508],
        "majority": 0.333333,
        "blind": None,
        "trivial": None,
    }
