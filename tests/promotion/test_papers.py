"""What must hold before a package is asked."""

import pytest

from tinygptv.promotion.decide import Decision
from tinygptv.promotion.papers import Credentials, Shared, on_credentials


def shared(dataset, records=0, images=0, by_design=False):
    return Shared(dataset=dataset, records=records, images=images, by_design=by_design)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Credentials(broken=[("stage2", "no run")]), "lineage: broken at stage2; stage2: no run"),
        (Credentials(package=["its sha256 is a, registered was b"]), "package: its sha256 is a, registered was b"),
        (Credentials(shared=[shared("cats", images=3)]), "test split: cats: 3 images were trained with"),
        (
            Credentials(shared=[shared("cats"), shared("gqa", 1200, 1300, by_design=True)]),
            "test split: gqa: 1,200 questions were trained with",
        ),
        (
            Credentials(shared=[shared("cats", 2, 0), shared("dogs", 5, 4)]),
            "test split: cats: 2 questions were trained with; dogs: 4 images were trained with",
        ),
        (
            Credentials(rolled_back="2026"),
            "rollback: rolled back at 2026; `tinygptv promote VERSION` promotes it all the same",
        ),
    ],
)
def test_what_is_refused(found, reason):
    assert Decision(on_credentials(found)).reasons == (reason,)


def test_papers_in_order():
    assert Decision(on_credentials(Credentials())).passed


def test_images_that_others_train_with_by_design_are_told_and_pass():
    decision = Decision(on_credentials(Credentials(shared=[shared("vqa", 0, 40504, by_design=True), shared("cats")])))
    assert decision.passed
    (row,) = (row for row in decision.rows if row.check == "test split")
    assert (row.value, row.limit) == (0, 0)
    assert row.note == "test questions and images trained with; images shared by design: vqa 40,504"
