"""Strict matching."""

from tinygptv.evaluation.metrics import exact_match


def test_matching_is_strict():
    assert exact_match(" red\n", "red")
    for wrong in ("Red", "red.", "red circle", "", "re d", "[red]"):
        assert not exact_match(wrong, "red"), wrong
