"""Every differing leaf of two JSON values, and the same as text for what is refused or allowed to differ."""

from __future__ import annotations

from tinygptv.ground.differences import NOTHING, changed_keys, differing_keys

NAN = float("nan")


def test_equal_values_have_no_differing_key():
    value = {"a": {"b": [1, {"c": None}]}, "loss": NAN}
    assert list(differing_keys(value, {"loss": float("nan"), "a": {"b": [1, {"c": None}]}})) == []
    assert changed_keys(value, {**value, "loss": float("nan")}) == {}


def test_leaves_are_named_by_where_they_lie():
    first = {"b": {"x": [1, 2], "y": 1}, "a": 0}
    second = {"b": {"x": [1, 3, 4], "y": 1.0}}
    assert list(differing_keys(first, second)) == [
        ("a", 0, NOTHING),
        ("b.x[1]", 2, 3),
        ("b.x[2]", NOTHING, 4),
        ("b.y", 1, 1.0),  # other text in a file
    ]
    assert list(differing_keys([1], {"a": 1})) == [("", [1], {"a": 1})]


def test_a_change_is_told_with_both_values():
    recorded = {"config": {"sizes": [1, 2], "rate": 1, "gone": {"a": 1}, "none": None}}
    present = {"config": {"sizes": [1, 3], "rate": 1.0}, "new": True}
    assert changed_keys(recorded, present) == {
        "config.gone": "config.gone ({'a': 1} -> None)",
        "config.sizes": "config.sizes ([1, 2] -> [1, 3])",
        "new": "new (None -> True)",
    }
