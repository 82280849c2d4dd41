"""What is said of a split that has other questions than it should, or that nobody asks."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tests.evaluation.asked import ASKS
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.summary import TEST, tars
from tinygptv.evaluation.baselines import Baselines
from tinygptv.evaluation.coverage import check_counts, left_out, not_named
from tinygptv.ground.errors import DataError

ASKED = {ask.name: 7 for ask in ASKS}
CHOSEN = {ask.name: Baselines("training", "a", {}) for ask in ASKS}


@pytest.fixture(scope="module")
def two_sets(small_shards, tmp_path_factory):
    """Beside easy-VQA a data set that nothing asks. Read only."""
    folder = tmp_path_factory.mktemp("two") / "shards"
    shutil.copytree(small_shards, folder / "easy_vqa")
    samples = []
    for sample in read_samples(tars(small_shards, TEST)):
        records = tuple(replace(record, dataset="cats") for record in sample.record.records)
        samples.append(replace(sample, record=replace(sample.record, records=records)))
    write_shards(folder / "cats", "test", samples, images_per_shard=16)
    return folder


def test_nothing_is_told_of_what_is_whole():
    assert left_out("test set", ASKS, ASKED, CHOSEN, []) == []


def test_a_task_without_questions_or_without_training_is_told():
    some = {name: count for name, count in ASKED.items() if name != "easy_vqa_refer"}
    chosen = CHOSEN | {"easy_vqa": Baselines("split", "a", {})}
    assert left_out("test set", ASKS, some, chosen, []) == [
        "test set: no training record of the task vqa; the baselines of easy_vqa are chosen on what is asked",
        "test set: no record of the task refer; easy_vqa_refer is left out",
    ]


def test_a_benchmark_that_is_only_asked_has_no_training_data_by_its_nature():
    published = replace(ASKS[0], name="gqa", dataset="gqa", task=None)
    chosen = {"gqa": Baselines("split", "a", {})}
    assert left_out("test set", [published], {"gqa": 3}, chosen, []) == []
    assert left_out("held-out slice", [published], {}, {}, []) == []


def test_a_data_set_that_nothing_asks_is_told(two_sets):
    assert [not_named(two_sets, ASKS, split) for split in ("test", "val")] == [["cats"], []]
    assert left_out("test set", ASKS, ASKED, CHOSEN, ["cats"]) == [
        "test set: no benchmark asks the records of cats; they are left out"
    ]
    assert left_out("test set", [], {}, {}, []) == [
        "test set: no data set of the profile has a benchmark; nothing is asked"
    ]


@pytest.mark.parametrize("expected", [None, 21])
def test_the_expected_number_passes(two_sets, expected):
    check_counts(two_sets, [replace(ask, expected=expected) for ask in ASKS], ASKED)


@pytest.mark.parametrize("asked", [ASKED, ASKED | {"easy_vqa": 8}, {}])
def test_another_number_is_an_error_that_names_both(two_sets, asked):
    found = sum(asked.values())
    with pytest.raises(
        DataError, match=rf"data\.easy_vqa: {found} questions .* but 20 are expected, .* rejected 0 rec"
    ):
        check_counts(two_sets, [replace(ask, expected=20) for ask in ASKS], asked)
    with pytest.raises(DataError, match=r"data\.gone: 0 questions"):
        check_counts(two_sets, [replace(ASKS[0], dataset="gone", name="gone", expected=20)], {})
