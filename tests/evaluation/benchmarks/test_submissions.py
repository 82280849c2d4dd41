"""Entries of predictions are taken as they are, or refused with what is wrong."""

from __future__ import annotations

import math

import pytest

from tinygptv.evaluation.benchmarks import submissions


@pytest.mark.parametrize(
    ("of", "value", "found"),
    [
        ("name", 7, "7"),
        ("name", "007", "007"),
        ("text", "", ""),
        ("text", " 🙂\n" * 2500, " 🙂\n" * 2500),
        ("probability", 1, 1.0),
        ("probability", 0.25, 0.25),
        ("place", 0, 0),
    ],
)
def test_what_is_taken(of, value, found):
    assert getattr(submissions, of)({"a": value}, "a") == found


@pytest.mark.parametrize(
    ("of", "value", "error", "words"),
    [
        ("name", True, TypeError, "`a` must be an id"),
        ("name", 1.0, TypeError, "`a` must be an id"),
        ("text", 7, TypeError, "`a` must be text, not 7"),
        ("text", ["x" * 99], TypeError, "`a` must be text"),
        ("probability", "0.5", TypeError, "`a` must be a number, not '0.5'"),
        ("probability", False, TypeError, "`a` must be a number"),
        ("probability", 10**400, ValueError, "`a` must be between 0 and 1, not 1000"),
        ("probability", math.nan, ValueError, "`a` must be between 0 and 1, not nan"),
        ("probability", math.inf, ValueError, "`a` must be between 0 and 1, not inf"),
        ("probability", -0.1, ValueError, "`a` must be between 0 and 1, not -0.1"),
        ("place", 1.0, TypeError, "`a` must be a whole number, not 1.0"),
        ("place", True, TypeError, "`a` must be a whole number"),
        ("place", -1, ValueError, "`a` must be 0 or more, not -1"),
    ],
)
def test_what_is_refused(of, value, error, words):
    with pytest.raises(error, match=words):
        getattr(submissions, of)({"a": value}, "a")
    with pytest.raises(KeyError, match="b"):
        getattr(submissions, of)({"a": value}, "b")
