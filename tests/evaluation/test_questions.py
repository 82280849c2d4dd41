"""What is asked of a split: read from real shards when it is asked for, in the order of their indexes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.data.made import picture
from tinygptv.data.records import ImageInfo, ImageRecord, ImageSample, Record, Turn, text_key
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.summary import TEST, tars
from tinygptv.data.tar_writer import TarWriter
from tinygptv.data.views import write_views
from tinygptv.evaluation.benchmarks.exact_match import BENCHMARK
from tinygptv.evaluation.benchmarks.table import Ask, asks_of
from tinygptv.evaluation.questions import evenly_spaced, open_questions
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import view_of


@pytest.fixture(scope="module")
def asks(smoke):
    return asks_of(smoke)


@pytest.fixture
def viewed(small_shards, smoke, tmp_path):
    """The same shards with their views, as the step leaves them."""
    folder = tmp_path / "shards"
    shutil.copytree(small_shards, folder / "easy_vqa")
    write_views(folder, smoke)
    return folder


def asked_of(dataset, task="vqa", **other):
    return Ask(name=dataset, dataset=dataset, task=task, benchmark=replace(BENCHMARK, **other))


def test_every_turn_of_every_record_is_asked_by_its_task(viewed, asks):
    samples = list(read_samples(tars(viewed / "easy_vqa", TEST)))
    expected = [
        (ask.name, ask.task, sample.key, record.id, turn.question, turn.answer, sample.record.image.sha256)
        for ask in asks
        for sample in samples
        for record in sample.record.records
        if record.task == ask.task
        for turn in record.turns
    ]
    questions = open_questions(viewed, "test", asks)
    found = [(q.benchmark, q.task, q.key, q.record, q.content, q.truth, q.image.hex()) for q in questions]
    assert len(found) > 100 and len(questions) == len(found)
    assert found == expected
    assert questions.counts() == Counter(entry[0] for entry in expected)
    of_image = {sample.record.image.sha256: sample.image_bytes for sample in samples}
    for number in (0, len(questions) - 1):
        assert questions.image_file(number) == of_image[questions[number].image.hex()]


def test_folders_with_views_without_and_of_the_released_version_are_asked_alike(viewed, small_shards, asks, tmp_path):
    """The JSON of the released version names no version and no data set, and its tars lie in the folder itself."""
    (released := tmp_path / "released").mkdir()
    with (released / "test-000000.tar").open("wb") as file:
        tar = TarWriter(file)
        for sample in read_samples(tars(small_shards, TEST)):
            content = json.loads(sample.record.to_json())
            del content["version"], content["dataset"]
            tar.add(f"{sample.key}.json", json.dumps(content).encode())
            tar.add(f"{sample.key}.png", sample.image_bytes)
        tar.end()
    expected = open_questions(viewed, "test", asks)
    for folder in (small_shards.parent, small_shards, released):
        questions = open_questions(folder, "test", asks)
        assert list(questions) == list(expected)
        assert questions.image_file(5) == expected.image_file(5)
    assert len(open_questions(small_shards, "test", [asked_of("cats")])) == 0
    assert len(open_questions(viewed, "test", [asked_of("cats")])) == 0


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """A set of one's own: conversations about images, a caption, a benchmark's annotation, a text alone. Read only."""
    folder = tmp_path_factory.mktemp("talks") / "shards"
    turns = Turn("is there a cat?", "no"), Turn("what is it?", "dog", (("dog", 2.0), ("puppy", 1.0)))
    records = {
        0: (Record("talk", "vqa", turns, (), "talks"), Record("told", "caption", (Turn("", "a dog"),), (), "talks")),
        1: (Record("known", "vqa", turns[:1], (), "talks", {"answer": "no", "split": "val"}),),
    }
    samples = []
    for number, of_image in records.items():
        content = picture(number)
        digest = hashlib.sha256(content).hexdigest()
        info = ImageInfo(f"{digest[:32]}.png", 10, 12, digest)
        samples.append(ImageSample(ImageRecord(digest[:32], info, "s", "l", of_image), None, content))
    text = Record("text", "conversation", turns[:1], (), "talks")
    samples.append(ImageSample(ImageRecord(text_key("talks", "text"), None, "s", "l", (text,)), None, b""))
    write_shards(folder / "talks", "test", sorted(samples, key=lambda sample: sample.key), images_per_shard=8)
    return folder


def test_a_later_turn_is_asked_after_the_earlier_ones(talks):
    kind = asked_of("talks", type_of=lambda content, truth: f"{content.split()[0]} {truth['answer']}")
    found = {(q.record, q.content): q for q in open_questions(talks, "test", [kind])}
    assert {key: (q.truth, q.type, len(q.earlier)) for key, q in found.items()} == {
        ("talk", "is there a cat?"): ("no", "is no", 0),
        ("talk", "what is it?"): ("dog", "what dog", 1),
        ("known", "is there a cat?"): ("no", "is no", 0),
    }
    later = found["talk", "what is it?"]
    assert later.earlier == (Turn("is there a cat?", "no"),)
    assert later.annotation == {"answer": "dog", "answers": {"dog": 2.0, "puppy": 1.0}}
    assert found["known", "is there a cat?"].annotation == {"answer": "no", "split": "val"}


def test_a_set_that_names_a_benchmark_is_asked_whatever_the_task_and_texts_alone_are_not(talks):
    questions = open_questions(talks, "test", [asked_of("talks", task=None)])
    assert Counter(q.record for q in questions) == {"talk": 2, "told": 1, "known": 1}


def test_a_set_without_a_split_is_asked_another_one_instead(talks, viewed):
    asks = [asked_of("talks"), asked_of("easy_vqa")]
    assert len(open_questions(talks, "val", asks)) == 0
    found = open_questions(talks, "val", asks, instead="test")
    assert found.counts() == {"talks": 3}
    assert found[0] == open_questions(talks, "test", asks)[0] and found.image_file(0)
    both = open_questions(viewed, "val", asks, instead="test")
    assert list(both) == list(open_questions(viewed, "val", asks))


def test_questions_are_a_sequence(viewed, asks):
    questions = open_questions(viewed, "test", asks)
    listed = list(questions)
    assert questions[-1] == listed[-1] == questions[len(listed) - 1] and list(questions[3:7]) == listed[3:7]
    assert list(questions.some(np.array([9, 2]))) == [listed[9], listed[2]]
    with pytest.raises(IndexError):
        questions[len(listed)]


def test_the_subset_is_spread_and_the_same_each_time(viewed, asks):
    questions = open_questions(viewed, "test", asks)
    subset = evenly_spaced(questions, 5)
    assert subset.counts() == {ask.name: 5 for ask in asks}
    assert list(subset) == list(evenly_spaced(questions, 5)) and len(set(subset)) == 15
    boxes = [question.record for question in questions if question.task == "refer"]
    assert [q.record for q in subset if q.task == "refer"] == boxes[:: len(boxes) // 5]
    assert list(evenly_spaced(questions, 10**6)) == list(questions)
    assert len(evenly_spaced(questions[:0], 5)) == 0


def test_the_digest_is_of_what_is_asked(viewed, small_shards, asks, talks, tmp_path):
    questions = open_questions(viewed, "test", asks)
    digests = [
        questions.digest,
        open_questions(viewed, "val", asks).digest,
        questions[:-1].digest,
        questions.some(np.arange(len(questions))[::-1]).digest,
        open_questions(viewed, "test", asks[:2]).digest,
        open_questions(viewed, "test", [replace(asks[0], name="other"), *asks[1:]]).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert digests[0] == open_questions(small_shards, "test", asks).digest, "wherever it lies"
    whole = open_questions(talks, "test", [asked_of("talks")])
    assert whole[:2].digest != whole[1:].digest
    former = list(read_samples(tars(talks / "talks", TEST)))
    other = [
        replace(s, record=replace(s.record, records=tuple(map(answered_otherwise, s.record.records)))) for s in former
    ]
    write_shards(tmp_path / "talks", "test", other, images_per_shard=8)
    assert whole.digest != open_questions(tmp_path, "test", [asked_of("talks")]).digest


def answered_otherwise(record):
    return replace(record, turns=tuple(replace(turn, answer="yes", accepted=()) for turn in record.turns))


def test_a_set_that_was_written_again_since_is_not_asked(viewed, asks):
    samples = list(read_samples(tars(viewed / "easy_vqa", TEST)))
    write_shards(viewed / "easy_vqa", "test", samples[1:], images_per_shard=16)
    with pytest.raises(DataError, match="not the one of the view"):
        open_questions(viewed, "test", asks)
    assert len(open_questions(viewed, "val", asks))
    (viewed / view_of("evaluate")).write_text("[]")
    with pytest.raises(DataError, match="is no view of shards"):
        open_questions(viewed, "test", asks)


def test_damage_is_found_when_a_question_or_its_image_is_read(viewed, small_shards, asks):
    path = tars(viewed / "easy_vqa", TEST)[0]
    for folder in (viewed, viewed / "easy_vqa"):  # by the index, and without one
        questions = open_questions(folder, "test", asks)
        content = bytearray(path.read_bytes())
        place = content.index(b"\x89PNG") + 40
        content[place] ^= 1
        path.write_bytes(content)
        number = next(i for i in range(len(questions)) if _damaged(questions, i))
        with pytest.raises(DataError, match="image"):
            questions.image_file(number)
        content[place] ^= 1
        path.write_bytes(content)
        questions.image_file(number)


def _damaged(questions, number):
    try:
        questions.image_file(number)
    except DataError:
        return True
    return False
