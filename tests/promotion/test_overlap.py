"""Test images among the training images, in tars alone and in the columns of indexes."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tinygptv.data.index_writer import IndexPart, write_index
from tinygptv.data.shards import read_samples, write_block, write_shards
from tinygptv.data.summary import INDEXES, SPLITS, read_summary, sets, tars
from tinygptv.data.views import write_views
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import SUMMARY
from tinygptv.ground.files import sha256_file, write_json
from tinygptv.promotion.contest import Exam
from tinygptv.promotion.overlap import seen_images


@pytest.fixture
def exam(smoke, small_shards, tmp_path) -> Exam:
    shutil.copytree(small_shards, tmp_path / "shards" / "easy_vqa")
    return Exam(smoke, 7, tmp_path / "shards")


def of_set(samples, name):
    """The samples as those of another data set."""
    for sample in samples:
        records = tuple(replace(record, dataset=name) for record in sample.record.records)
        yield replace(sample, record=replace(sample.record, records=records))


def add_indexes(exam):
    """Beside the tars what the step ``shards`` writes beside them."""
    for name, folder in sets(exam.shards).items():
        summary = read_summary(folder)
        for split in SPLITS:
            parts = []
            for number, path in enumerate(tars(folder, f"{split}-*.tar")):
                rows = folder / f"{path.name}.npy"
                samples = [(sample.record, sample.image_bytes) for sample in read_samples([path])]
                sha256, counts = write_block(path, rows, samples)
                summary["digests"][path.name] = sha256
                parts.append(IndexPart(rows, number, sha256, counts["samples"], counts["tasks"]))
            write_index(folder / f"{split}.arrow", name, parts)
            summary.setdefault(INDEXES, {})[split] = sha256_file(folder / f"{split}.arrow")
        write_json(folder / SUMMARY, summary)
    write_views(exam.shards, exam.config)


@pytest.mark.parametrize("indexed", [False, True])
def test_images_are_found_in_training_and_held_out_images_of_every_set(exam, indexed):
    """A test image of a data set that no benchmark asks is of no matter."""
    folder = exam.shards
    test, training = (list(read_samples(tars(folder / "easy_vqa", f"{split}-*.tar"))) for split in ("test", "train"))
    write_shards(folder / "cats", "test", of_set(training, "cats"), images_per_shard=16)
    counts = []
    for count, split in ((0, "train"), (3, "train"), (5, "val")):
        write_shards(folder / "cats", split, of_set(test[:count], "cats"), images_per_shard=2)
        if indexed:
            add_indexes(exam)
        counts.append(seen_images(exam))
    assert counts == [0, 3, 5]


def test_an_earlier_versions_folder_is_looked_through(exam):
    flat = replace(exam, shards=exam.shards / "easy_vqa")
    assert seen_images(flat) == 0
    test = list(read_samples(tars(flat.shards, "test-*.tar")))
    write_shards(flat.shards, "train", test[:2], images_per_shard=16)
    assert seen_images(flat) == 2


def test_without_test_images_there_is_no_answer(exam, tmp_path):
    with pytest.raises(DataError, match=r"has no test-\*\.tar of a data set that a benchmark asks"):
        seen_images(replace(exam, shards=tmp_path / "nothing"))


def test_an_index_that_is_not_the_views_is_refused(exam):
    add_indexes(exam)
    path = exam.shards / "easy_vqa" / "train.arrow"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"train\.arrow is not the one of the view"):
        seen_images(exam)
