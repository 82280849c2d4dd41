"""What is asked of a split of real shards, what needs no image there, and what is said of a task that is missing."""

from __future__ import annotations

from collections import Counter

from tinygptv.data.shards import read_records
from tinygptv.data.summary import HELD_OUT, TEST, TRAINING, tars
from tinygptv.evaluation.benchmarks import BENCHMARKS, fit_baselines
from tinygptv.evaluation.questions import left_out, list_test_set, read_baselines


def test_the_test_set_is_asked_in_its_order(small_shards):
    images = list(read_records(tars(small_shards, TEST)))
    turns = [
        (image.key, record.id, turn.question)
        for image in images
        for record in image.records
        if record.task in BENCHMARKS
        for turn in record.turns
    ]
    assert [(q.key, q.record, q.content) for q in list_test_set(small_shards)] == turns


def test_the_slice_is_compared_with_the_images_that_train_and_the_test_set_with_all(small_shards):
    train, val = (
        [record for image in read_records(tars(small_shards, split)) for record in image.records]
        for split in (TRAINING, HELD_OUT)
    )
    assert train and val
    assert read_baselines(small_shards) == (fit_baselines(train), fit_baselines(train + val))


def test_a_task_without_questions_or_without_training_is_told(small_shards):
    questions = list_test_set(small_shards)
    counts = Counter(question.task for question in questions)
    assert set(counts) == set(BENCHMARKS)
    _, baselines = read_baselines(small_shards)
    assert left_out("test set", questions, baselines) == []
    assert left_out("test set", [q for q in questions if q.task != "refer"], fit_baselines([])) == [
        "test set: no training record of the task vqa; easy_vqa has no baseline",
        "test set: no record of the task refer; easy_vqa_refer is left out",
        "test set: no training record of the task caption; easy_vqa_caption has no baseline",
    ]
