"""Rejected records: a bounded list that does not depend on who found them when."""

from __future__ import annotations

import random

from tinygptv.data.rejections import LISTED, Rejections


def many(count, reasons):
    return [{"id": f"{n:07d}", "reason": f"reason {n % reasons:05d}"} for n in range(count)]


def test_few_are_all_listed():
    found = Rejections()
    found.add([{"id": "b", "reason": "x"}, {"id": "a", "reason": "y"}, {"id": "a", "reason": "x"}])
    assert found.to_json() == {
        "rejected": 3,
        "reasons": {"x": 2, "y": 1},
        "listed": 3,
        "records": [{"id": "a", "reason": "x"}, {"id": "a", "reason": "y"}, {"id": "b", "reason": "x"}],
    }


def test_a_million_are_counted_and_the_first_thousand_listed():
    found = Rejections()
    found.add(reversed(many(50_000, 7)))
    assert len(found.first) <= 2 * LISTED
    content = found.to_json()
    assert (content["rejected"], content["listed"], sum(content["reasons"].values())) == (50_000, LISTED, 50_000)
    assert content["records"] == many(LISTED, 7)


def test_reasons_are_bounded_and_those_that_are_kept_are_exact():
    found = Rejections()
    found.add(many(20_000, 5000))
    assert len(found.reasons) <= 2 * LISTED
    assert found.to_json()["reasons"] == {f"reason {n:05d}": 4 for n in range(LISTED)}


def test_the_order_and_the_parts_change_nothing():
    source = random.Random(1)
    all_of_them = many(9000, 3000)
    whole = Rejections()
    whole.add(all_of_them)
    source.shuffle(all_of_them)
    parts = Rejections()
    while all_of_them:
        part = Rejections()
        part.add(all_of_them.pop() for _ in range(min(len(all_of_them), source.randrange(1, 2500))))
        parts.merge(Rejections.from_json(part.to_json()))
    assert parts.to_json() == whole.to_json()
