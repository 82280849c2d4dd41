"""Splits by the names of files, folders and rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinygptv.data.named_splits import NamedSplits, split_in, split_of_cell
from tinygptv.data.record_rules import RecordError


def splits(*names, above="/data/test/cats"):
    files = [Path(above) / name for name in names]
    named = NamedSplits(files)
    return [named.of(path) for path in files]


def test_names_of_files_and_folders_say_the_split():
    assert splits("train-00000-of-00001.parquet", "validation-0.parquet", "test.parquet") == ["train", "val", "test"]
    assert splits("train/0.tar", "val/0.tar", "other/0.tar") == ["train", "val", ""]
    assert splits("instances_train2017.json", "instances_val2017.json") == ["train", "val"]


def test_where_nothing_is_held_out_the_names_say_nothing():
    assert splits("train-0.parquet", "train-1.parquet") == ["", ""]
    assert splits("train-0.parquet") == [""]
    assert splits("test.csv") == [""]
    assert splits("test-0.parquet", "test-1.parquet") == ["", ""]
    assert splits() == []


def test_folders_above_the_data_say_nothing():
    assert splits("0.tar", "1.tar") == ["", ""]
    assert splits("a/latest.tar", "b/retrain.tar", "valid_words.tar") == ["", "", "val"]


@pytest.mark.parametrize(
    ("name", "split"),
    [("TRAIN", "train"), ("my-dev-set", "val"), ("trainer", ""), ("contest", ""), ("train/test.tar", "test")],
)
def test_a_split_is_a_word_of_the_name(name, split):
    assert split_in(name) == split


def test_rows_say_their_split():
    assert [split_of_cell(text, "split") for text in ("Train ", "validation", "", "test")] == [
        "train",
        "val",
        "",
        "test",
    ]
    with pytest.raises(RecordError, match="its `part` is 'mine'; splits are train, val and test"):
        split_of_cell("mine", "part")
