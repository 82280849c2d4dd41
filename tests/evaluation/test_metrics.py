"""Metrics against published and hand-computed values."""

import pytest

from tinygptv.evaluation.metrics import agreement, exact_match


def test_matching_is_strict():
    assert exact_match(" red\n", "red")
    for wrong in ("Red", "red.", "red circle", "", "re d", "[red]"):
        assert not exact_match(wrong, "red"), wrong


def test_agreement():
    assert agreement(["a", "b", "c", "d"], ["a", "b", "c", "x"]) == 0.75
    with pytest.raises(ValueError, match="cannot compare"):
        agreement(["a"], ["a", "b"])
