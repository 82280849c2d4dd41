"""Test questions and images among those to train with, in tars alone and in the columns of indexes."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tinygptv.config import DataSet
from tinygptv.config.profiles import Profile
from tinygptv.data import index
from tinygptv.data.index_writer import IndexPart, write_index
from tinygptv.data.records import Turn
from tinygptv.data.shards import read_samples, write_block, write_shards
from tinygptv.data.summary import INDEXES, SPLITS, read_summary, sets, tars
from tinygptv.data.views import write_views
from tinygptv.evaluation.benchmarks import table
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import SUMMARY
from tinygptv.ground.files import sha256_file, write_json
from tinygptv.promotion.contest import exam_of
from tinygptv.promotion.overlap import shared_with_training
from tinygptv.promotion.papers import Shared

NONE = Shared(dataset="easy_vqa", records=0, images=0, by_design=False)
INDEXED = pytest.mark.parametrize("indexed", [False, True])


@pytest.fixture
def shards(small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "shards" / "easy_vqa")
    return tmp_path / "shards"


@pytest.fixture
def look(smoke, shards, tmp_path, monkeypatch):
    """What the questions of the shards as they are by now share with their training data; indexes of many batches."""
    monkeypatch.setattr(index, "BATCH_ROWS", 8)

    def shared(indexed=False, config=smoke):
        if indexed:
            add_indexes(shards, config)
        return shared_with_training(exam_of(tmp_path, Profile("smoke", 7, config), shards))

    return shared


def asked_samples(shards):
    return list(read_samples(tars(shards / "easy_vqa", "test-*.tar")))


def of_set(samples, name, change=lambda record: record):
    """The samples as those of another data set, with other records."""
    for sample in samples:
        records = tuple(change(replace(record, dataset=name)) for record in sample.record.records)
        yield replace(sample, record=replace(sample.record, records=records))


def add_indexes(shards, config):
    """Beside the tars what the step ``shards`` writes beside them."""
    for name, folder in sets(shards).items():
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
    write_views(shards, config)


@INDEXED
def test_images_are_found_in_training_and_held_out_images_of_every_set(shards, look, indexed):
    """Of another data set, and asked something else: the images alone are refused where no design shares them."""
    training = list(read_samples(tars(shards / "easy_vqa", "train-*.tar")))
    write_shards(shards / "cats", "test", of_set(training, "cats"), images_per_shard=16)
    for count, split in ((0, "train"), (3, "train"), (5, "val")):
        others = of_set(asked_samples(shards)[:count], "cats", asks_something_else)
        write_shards(shards / "cats", split, others, images_per_shard=2)
        (found,) = look(indexed)
        assert found == replace(NONE, images=count)
        assert bool(found.problem) == bool(count)


def asks_something_else(record):
    return replace(record, id=f"{record.id} of cats", task="conversation", turns=(Turn("what is it like?", "nice"),))


@INDEXED
def test_questions_are_found_by_their_words_and_image(shards, look, indexed):
    """Case, white space, task and data set are of no matter; a second turn is a question as well."""

    def loud(record):
        first, *_ = record.turns
        asked = Turn(f"  {first.question.upper()} ", first.answer)
        record = asks_something_else(record)
        return replace(record, turns=(*record.turns, asked)) if first.question else record

    chosen = asked_samples(shards)[:4]
    write_shards(shards / "cats", "train", of_set(chosen, "cats", loud), images_per_shard=16)
    (found,) = look(indexed)
    words = {
        (sample.key, record.turns[0].question)
        for sample in chosen
        for record in sample.record.records
        if record.turns[0].question and record.task in ("vqa", "refer")
    }
    assert (found.images, found.records) == (4, len(words))
    assert found.records > 4


@INDEXED
def test_a_record_of_the_same_set_is_found_by_its_id(shards, look, indexed):
    """Its words were changed, its image was not. In another set an id says nothing."""

    def reworded(record):
        return replace(record, turns=tuple(Turn(f"{turn.question} really?", turn.answer) for turn in record.turns))

    chosen = asked_samples(shards)[:2]
    write_shards(shards / "cats", "train", of_set(chosen, "cats", reworded), images_per_shard=16)
    assert look(indexed) == (replace(NONE, images=2),)
    training = list(read_samples(tars(shards / "easy_vqa", "train-*.tar")))
    write_shards(shards / "easy_vqa", "train", [*training, *of_set(chosen, "easy_vqa", reworded)], images_per_shard=16)
    (found,) = look(indexed)
    asked = sum(record.task in ("vqa", "refer", "caption") for sample in chosen for record in sample.record.records)
    assert found == replace(NONE, images=2, records=asked)


@INDEXED
def test_images_that_a_benchmark_shares_by_design_are_counted_and_its_questions_refused(
    shards, look, smoke, indexed, monkeypatch
):
    shared = replace(table.benchmark_of("exact_match"), images_may_train=True)
    monkeypatch.setattr(table, "benchmark_of", lambda _: shared)
    cats = DataSet(format="llava", files=("a.json",), licence="MIT", benchmark="exact_match")
    asked = smoke.evaluate.model_copy(update={"benchmarks": ("cats",)})
    config = smoke.model_copy(update={"data": {**smoke.data, "cats": cats}, "evaluate": asked})
    training = list(read_samples(tars(shards / "easy_vqa", "train-*.tar")))[:3]
    write_shards(shards / "cats", "test", of_set(training, "cats", asks_something_else), images_per_shard=16)
    (found,) = look(indexed, config)
    assert found == Shared(dataset="cats", records=0, images=3, by_design=True)
    assert not found.problem
    write_shards(shards / "cats", "test", of_set(training[:2], "cats"), images_per_shard=16)
    (found,) = look(indexed, config)
    assert found.images == 2 and found.problem == f"cats: {found.records} questions were trained with"


def test_an_earlier_versions_folder_is_looked_through(shards, smoke, tmp_path):
    flat = shards / "easy_vqa"
    exam = exam_of(tmp_path, Profile("smoke", 7, smoke), flat)
    assert shared_with_training(exam) == (NONE,)
    test = asked_samples(shards)[:2]
    write_shards(flat, "train", test, images_per_shard=16)
    (found,) = shared_with_training(exam)
    assert found.images == 2 and found.records > 2


def test_without_test_questions_there_is_no_exam(smoke, tmp_path):
    with pytest.raises(DataError, match="has no test question of easy_vqa, easy_vqa_refer, easy_vqa_caption; run"):
        exam_of(tmp_path, Profile("smoke", 7, smoke), tmp_path / "nothing")


def test_an_index_that_is_not_the_views_is_refused(shards, smoke, look):
    add_indexes(shards, smoke)
    path = shards / "easy_vqa" / "train.arrow"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"train\.arrow is not the one of the view"):
        look()
