"""Samples found by their keys in real shards, and those that cannot be taken."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tinygptv.data.samples import Samples
from tinygptv.data.shards import read_records, read_samples, write_shards
from tinygptv.data.summary import TEST, TRAINING, tars
from tinygptv.ground.errors import DataError


@pytest.fixture
def small(small_shards):
    return Samples({"easy_vqa": tars(small_shards, TEST)})


def test_records_come_in_order_and_a_sample_by_its_key(small, small_shards):
    paths = tars(small_shards, TEST)
    assert list(small.records()) == list(read_records(paths))
    for sample in reversed(list(read_samples(paths))):
        found = small.read("easy_vqa", sample.key)
        assert (found.record, found.image_bytes) == (sample.record, sample.image_bytes)
        assert found.image.tobytes() == sample.image.tobytes()
        assert small.tar("easy_vqa", sample.key) in paths


def test_an_image_of_two_sets_is_two_samples(small_shards, tmp_path):
    sample = next(iter(read_samples(tars(small_shards, TEST))))
    record = replace(sample.record, records=tuple(replace(r, dataset="cats") for r in sample.record.records[:1]))
    write_shards(tmp_path / "cats", "test", [replace(sample, record=record)], images_per_shard=4)
    both = Samples({"easy_vqa": tars(small_shards, TEST), "cats": tars(tmp_path / "cats", TEST)})
    assert [found.dataset for found in both.records() if found.key == sample.key] == ["easy_vqa", "cats"]
    assert both.read("cats", sample.key).record == record
    with pytest.raises(DataError, match="is of the data set cats, not of birds"):
        list(Samples({"birds": tars(tmp_path / "cats", TEST)}).records())


def test_a_key_is_once_in_a_set(small_shards, tmp_path):
    path = tars(small_shards, TEST)[0]
    (tmp_path / "copy.tar").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"copy\.tar: sample .* is also in test-000000\.tar"):
        Samples({"easy_vqa": [path, tmp_path / "copy.tar"]})


def test_damage_is_told_with_the_tar(small_shards, tmp_path):
    path = tars(small_shards, TRAINING)[0]
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 20] ^= 0xFF
    (tmp_path / "bad.tar").write_bytes(content)
    samples = Samples({"easy_vqa": [tmp_path / "bad.tar"]})  # beside it no summary says which digest it has
    keys = [record.key for record in samples.records()]
    with pytest.raises(DataError, match=r"bad\.tar: .*the image's bytes do not have image\.sha256"):
        for key in keys:
            samples.read("easy_vqa", key)
    at = content.index(json.dumps("vqa").encode())
    content[at : at + 5] = b'"qqq"'
    (tmp_path / "bad.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.tar: .*unknown task 'qqq'"):
        list(Samples({"easy_vqa": [tmp_path / "bad.tar"]}).records())
