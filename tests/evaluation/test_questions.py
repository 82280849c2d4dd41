"""What is asked of a split of real shards, what needs no image there, and what is said of what nobody asks."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from tinygptv.data.records import ImageInfo, ImageRecord, Record, Turn
from tinygptv.data.shards import read_records, read_samples, write_shards
from tinygptv.data.summary import HELD_OUT, TEST, TRAINING, tars
from tinygptv.data.tar_writer import TarWriter
from tinygptv.data.views import write_views
from tinygptv.evaluation.baselines import TrainingAnswers
from tinygptv.evaluation.benchmarks.easy_vqa import SUITE
from tinygptv.evaluation.benchmarks.table import suites_of
from tinygptv.evaluation.questions import (
    evenly_spaced_list,
    left_out,
    list_questions,
    list_test_set,
    open_split,
    read_baselines,
    without_benchmark,
)
from tinygptv.ground.errors import DataError

SUITES = {"easy_vqa": SUITE}


@pytest.fixture(scope="module")
def two_sets(small_shards, tmp_path_factory):
    """Beside easy-VQA a data set that no benchmark asks. Read only."""
    folder = tmp_path_factory.mktemp("two") / "shards"
    shutil.copytree(small_shards, folder / "easy_vqa")
    samples = []
    for sample in read_samples(tars(small_shards, TEST)):
        records = tuple(replace(record, dataset="cats") for record in sample.record.records)
        samples.append(replace(sample, record=replace(sample.record, records=records)))
    for split in ("train", "test"):
        write_shards(folder / "cats", split, samples, images_per_shard=16)
    return folder


def test_the_test_set_is_asked_in_its_order(small_shards):
    images = list(read_records(tars(small_shards, TEST)))
    turns = [
        ("easy_vqa", image.key, record.id, turn.question, SUITE.names[record.task])
        for image in images
        for record in image.records
        if record.task in SUITE.names
        for turn in record.turns
    ]
    found = list_test_set(small_shards, SUITES)
    assert [(q.dataset, q.key, q.record, q.content, q.benchmark) for q in found] == turns
    assert list(open_split(small_shards, TEST, SUITES).records()) == images


def test_a_data_set_is_asked_by_its_format(smoke, two_sets, small_shards):
    data = dict(smoke.data)
    easy = data.pop("easy_vqa")
    other = easy.model_copy(update={"format": "paper"})
    assert suites_of({"easy_vqa": easy, "cats": other}) == SUITES
    assert list_test_set(two_sets, SUITES) == list_test_set(small_shards, SUITES)
    assert read_baselines(two_sets, SUITES) == read_baselines(small_shards, SUITES)
    assert {question.dataset for question in list_test_set(two_sets, {"cats": SUITE})} == {"cats"}
    both = list_test_set(two_sets, suites_of({"easy_vqa": easy, "cats": easy}))
    assert Counter(question.dataset for question in both).total() == 2 * len(list_test_set(small_shards, SUITES))


def test_a_set_that_was_written_by_hand_since_is_not_measured(smoke, small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "easy_vqa")
    write_views(tmp_path, smoke)
    assert list_test_set(tmp_path, SUITES) == list_test_set(small_shards, SUITES)
    for split, pattern in (("test", TEST), ("train", TRAINING)):
        samples = list(read_samples(tars(small_shards, pattern)))
        write_shards(tmp_path / "easy_vqa", split, samples[1:], images_per_shard=16)
        with pytest.raises(DataError, match=r"evaluate\.json"):
            (list_test_set if split == "test" else read_baselines)(tmp_path, SUITES)


def test_shards_of_the_released_version_are_asked_alike(small_shards, tmp_path):
    """Their JSON names no version and no data set, and their tars lie in the folder itself."""
    with (tmp_path / "test-000000.tar").open("wb") as file:
        tar = TarWriter(file)
        for sample in read_samples(tars(small_shards, TEST)):
            content = json.loads(sample.record.to_json())
            del content["version"], content["dataset"]
            tar.add(f"{sample.key}.json", json.dumps(content).encode())
            tar.add(f"{sample.key}.png", sample.image_bytes)
        tar.end()
    questions = list_test_set(tmp_path, SUITES)
    assert questions == list_test_set(small_shards, SUITES)
    asked = questions[-1].dataset, questions[-1].key
    samples = [open_split(shards, TEST, SUITES).read(*asked) for shards in (tmp_path, small_shards.parent)]
    assert samples[0].record == samples[1].record and samples[0].image_bytes == samples[1].image_bytes


def test_the_slice_is_compared_with_the_images_that_train_and_the_test_set_with_all(small_shards):
    answers = TrainingAnswers()
    chosen = []
    for split in (TRAINING, HELD_OUT):
        answers.add(record for image in read_records(tars(small_shards, split)) for record in image.records)
        chosen.append(answers.baselines())
    assert chosen[0] != chosen[1]
    assert read_baselines(small_shards, SUITES) == tuple(chosen)


def test_a_record_of_several_turns_asks_several_questions():
    turns = (Turn("is there a circle?", "no"), Turn("what color is the shape?", "red"))
    record = Record("r", "vqa", turns, (), "easy_vqa")
    sample = ImageRecord("k", ImageInfo("k.png", 1, 1, "0" * 64), "s", "l", (record,))
    found = list_questions([sample], SUITES)
    assert [(q.content, q.truth, q.type) for q in found] == [
        ("is there a circle?", "no", "yes/no-shape"),
        ("what color is the shape?", "red", "what-colour"),
    ]
    assert [q.earlier for q in found] == [(), turns[:1]]
    assert list_questions([sample], {}) == list_questions([sample], {"cats": SUITE}) == []
    assert list_questions([replace(sample, records=(replace(record, task="identify"),))], SUITES) == []


def test_the_subset_is_spread_and_the_same_each_time(small_shards):
    questions = list_test_set(small_shards, SUITES)
    subset = evenly_spaced_list(questions, 5)
    assert Counter(question.benchmark for question in subset) == dict.fromkeys(SUITE.names.values(), 5)
    assert subset == evenly_spaced_list(questions, 5) and len(set(subset)) == 15
    of_images = [question.record for question in questions if question.task == "refer"]
    assert [q.record for q in subset if q.task == "refer"] == of_images[:: len(of_images) // 5]
    assert sorted(map(str, evenly_spaced_list(questions, 10**6))) == sorted(map(str, questions))


def test_a_task_without_questions_or_without_training_is_told(small_shards):
    questions = list_test_set(small_shards, SUITES)
    assert {question.task for question in questions} == set(SUITE.names)
    _, baselines = read_baselines(small_shards, SUITES)
    assert left_out("test set", questions, baselines, SUITES, []) == []
    some = [q for q in questions if q.task != "refer"]
    assert left_out("test set", some, TrainingAnswers().baselines(), SUITES, []) == [
        "test set: no training record of the task vqa; easy_vqa has no baseline",
        "test set: no record of the task refer; easy_vqa_refer is left out",
        "test set: no training record of the task caption; easy_vqa_caption has no baseline",
    ]


def test_a_data_set_without_a_benchmark_is_told(two_sets):
    assert [without_benchmark(two_sets, split, SUITES) for split in (TEST, HELD_OUT)] == [["cats"], []]
    questions = list_test_set(two_sets, SUITES)
    _, baselines = read_baselines(two_sets, SUITES)
    assert left_out("test set", questions, baselines, SUITES, ["cats"]) == [
        "test set: no benchmark asks the records of cats; they are left out"
    ]
    assert left_out("test set", [], baselines, {}, []) == [
        "test set: no data set of the profile has a benchmark; nothing is asked"
    ]
