"""Questions about real images, few of which are in memory at a time: the answers are those of all at once."""

from __future__ import annotations

import weakref

import pytest
import torch
from PIL import Image

from tests.serving.helpers import strong_model
from tinygptv.data import record_rules
from tinygptv.data.shards import read_samples
from tinygptv.data.summary import TEST, TRAINING, tars
from tinygptv.evaluation import old_answering as answering
from tinygptv.evaluation.old_answering import ImageFeatures, ask, image_of
from tinygptv.evaluation.benchmarks.table import suites_of
from tinygptv.evaluation.questions import evenly_spaced_list, list_questions, open_split
from tinygptv.evaluation.stages import prompts_of


@pytest.fixture(scope="module")
def model(make_model, processor):
    """A model that tells images apart. Read only."""
    return strong_model(make_model(seed=4), processor, seed=4)


@pytest.fixture
def samples(small_shards, smoke):
    return open_split(small_shards, TRAINING, suites_of(smoke.data))


@pytest.fixture
def questions(samples, smoke):
    """Of every task, so that an image comes again long after it was asked about first."""
    return evenly_spaced_list(list_questions(samples.records(), suites_of(smoke.data)), 30)


@pytest.fixture
def answers(model, samples, questions, smoke):
    def given(batch_size, features=None):
        held = features or ImageFeatures(samples, batch_size)
        settings = smoke.evaluate.model_copy(update={"max_new_tokens": 4})
        return ask(model, held, questions, prompts_of(smoke, "stage4"), settings, batch_size)

    return given


@pytest.fixture
def decoded(monkeypatch):
    """How many decoded images were alive whenever another was decoded."""
    alive: list[weakref.ref[Image.Image]] = []
    counts: list[int] = []

    def counted(image):
        alive[:] = [reference for reference in alive if reference() is not None]
        alive.append(weakref.ref(image))
        counts.append(len(alive))
        return image

    def watched(call):
        return lambda *arguments, **options: counted(call(*arguments, **options))

    monkeypatch.setattr(record_rules, "read_image", watched(record_rules.read_image))
    monkeypatch.setattr(Image.Image, "resize", watched(Image.Image.resize))
    return counts


def test_answers_do_not_depend_on_how_many_images_are_held(answers, model, samples, questions, monkeypatch):
    whole = answers(8)
    assert len({answer.text for answer in whole}) > 3, "all alike, they would prove nothing"
    for held in (8, 11):
        monkeypatch.setattr(answering, "HELD_IMAGES", held)
        features = ImageFeatures(samples, 8)
        assert answers(8, features) == whole
        assert len(features.take(model, [image_of(questions[0])])) <= held


def test_few_images_are_decoded_at_a_time_and_each_once_while_there_is_room(
    answers, samples, questions, model, decoded, monkeypatch
):
    images = {image_of(question) for question in questions}
    assert len(images) > 24
    features = ImageFeatures(samples, 4)
    answers(4, features)
    once = len(decoded)
    # A batch that is small already, and the image that is being made small.
    assert max(decoded) <= 4 * 2 + 2
    answers(4, features)
    assert len(decoded) == once, "another stage finds them encoded"
    monkeypatch.setattr(answering, "HELD_IMAGES", 6)
    answers(4, ImageFeatures(samples, 4))
    assert len(decoded) > 2 * once and max(decoded) <= 4 * 2 + 2


def test_an_images_outputs_do_not_depend_on_its_neighbours(model, small_shards):
    images = [sample.image for sample in read_samples(tars(small_shards, TEST))]
    alone = [model.encode_images([image], 8, filled=True)[0] for image in images]
    assert torch.equal(torch.stack(alone), model.encode_images(images, 8, filled=True))
    assert torch.equal(torch.stack(alone[::-1]), model.encode_images(images[::-1], 8, filled=True))
    small = [model.picture(image) for image in images]
    assert torch.equal(torch.stack(alone), model.encode_images(small, 8, filled=True))


def test_nothing_asked_nothing_decoded(model, samples, smoke, decoded):
    assert ask(model, ImageFeatures(samples, 8), [], prompts_of(smoke, "stage4"), smoke.evaluate, 8) == []
    assert decoded == []
