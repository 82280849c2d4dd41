"""A model before many questions about real images: few are in memory, and how they are asked changes no answer."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from dataclasses import replace

import pytest
from PIL import Image

from tests.serving.helpers import strong_model
from tinygptv.data.records import Turn
from tinygptv.evaluation import answering, asking
from tinygptv.evaluation.answering import prompt_ids
from tinygptv.evaluation.asking import Speed, ask, kept_open
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.presets import stage_asking
from tinygptv.evaluation.questions import evenly_spaced, open_questions
from tinygptv.ground.errors import DataError
from tinygptv.model.answerer import Answerer, Response
from tinygptv.model.inference import VisionLanguageModel


@pytest.fixture(scope="module")
def model(make_model, processor):
    """A model that tells images apart. Read only."""
    return strong_model(make_model(seed=4), processor, seed=4)


@pytest.fixture(scope="module")
def asks(smoke):
    return asks_of(smoke)


@pytest.fixture
def questions(small_shards, asks):
    """Of every task, so that an image comes again long after it was asked about first."""
    return evenly_spaced(open_questions(small_shards, "train", asks), 30)


@pytest.fixture(scope="module")
def how(smoke):
    few = smoke.evaluate.model_copy(update={"max_new_tokens": 4, "batch_size": 8})
    return stage_asking(smoke.model_copy(update={"evaluate": few}), "stage4", "as_trained")


@pytest.fixture
def blocks(monkeypatch):
    monkeypatch.setattr(asking, "BLOCK", 10)


def texts(found):
    return [answer.text for _, answer in found]


def test_answers_do_not_depend_on_passes_and_blocks(model, questions, how, monkeypatch):
    whole = list(ask(lambda: model, "", questions, how, None))
    assert [question for question, _ in whole] == list(questions)
    assert len(set(texts(whole))) > 3, "all alike, they would prove nothing"
    for size, block in ((1, 256), (3, 10), (7, 7), (64, 50)):
        monkeypatch.setattr(asking, "BLOCK", block)
        assert texts(ask(lambda: model, "", questions, replace(how, batch_size=size), None)) == texts(whole)


@pytest.mark.usefixtures("blocks")
def test_how_many_images_are_held_changes_no_bit(model, questions, how, monkeypatch):
    whole = list(ask(lambda: model, "", questions, how, None))
    for held, ahead in ((0, 8), (3, 1), (1024, 1)):
        monkeypatch.setattr(answering, "HELD_IMAGES", held)
        monkeypatch.setattr(asking, "AHEAD", ahead)
        assert list(ask(lambda: model, "", questions, how, None)) == whole


def test_models_with_one_image_encoder_encode_an_image_once_a_size(
    model, make_model, processor, questions, how, monkeypatch
):
    other = strong_model(make_model(seed=4), processor, seed=9)
    other.model.image_encoder = model.model.image_encoder
    whole = list(ask(lambda: other, "", questions, how, None))
    encoded = OrderedDict()
    first = list(ask(lambda: model, "", questions, how, None, encoded=encoded))
    assert texts(first) != texts(whole), "alike, they would prove nothing"
    with monkeypatch.context() as patch:
        patch.delattr(VisionLanguageModel, "encode_images")
        assert list(ask(lambda: other, "", questions, how, None, encoded=encoded)) == whole
    at_size = {size for size, _ in encoded}
    monkeypatch.setattr(processor.image_processor, "size", {"height": 32, "width": 32})
    list(ask(lambda: other, "", questions, how, None, encoded=encoded))
    assert {size for size, _ in encoded} == at_size | {32}


@pytest.fixture
def pictures(monkeypatch):
    """Threads that decode, and how many decoded images were alive whenever another was decoded."""
    alive: list[weakref.ref[Image.Image]] = []
    counts: list[int] = []
    threads: set[str] = set()
    lock, resize = threading.Lock(), Image.Image.resize

    def watched(*arguments, **options):
        made = resize(*arguments, **options)
        with lock:
            alive[:] = [reference for reference in alive if reference() is not None]
            alive.append(weakref.ref(made))
            counts.append(len(alive))
            threads.add(threading.current_thread().name)
        return made

    monkeypatch.setattr(Image.Image, "resize", watched)
    return counts, threads


def test_images_are_decoded_ahead_once_and_few_are_in_memory(model, questions, how, pictures, monkeypatch):
    counts, threads = pictures
    images = len({question.image for question in questions})
    assert images > 24
    passes, encode = [], model.encode_images

    def counted(some, *arguments, **options):
        passes.append(len(some))
        return encode(some, *arguments, **options)

    monkeypatch.setattr(model, "encode_images", counted)
    monkeypatch.setattr(asking, "BLOCK", 5)
    list(ask(lambda: model, "", questions, replace(how, batch_size=4), None))
    assert {name.partition("_")[0] for name in threads} >= {"decode"} and sum(passes) == images
    assert passes[:-1] == [4] * (len(passes) - 1), "whole passes, though blocks have other numbers of images"
    # What waits is a pass and two blocks at most; an image that is being made small or encoded is there twice.
    assert max(counts) <= 4 + 2 * 5 + answering.THREADS + 4 < images


def test_the_model_is_opened_when_it_is_needed_and_let_go(make_model, processor, questions, how):
    opened = []

    def open_model():
        model = strong_model(make_model(seed=4), processor, seed=4)
        opened.append(weakref.ref(model))
        return model

    answers = ask(open_model, "", questions, how, None)
    assert opened == []
    next(answers)
    assert len(opened) == 1 and opened[0]() is not None
    answers.close()
    assert opened[0]() is None
    with kept_open(open_model) as once:
        assert len(opened) == 1
        assert len([*ask(once, "", questions[:5], how, None), *ask(once, "", questions[5:9], how, None)]) == 9
        assert len(opened) == 2 and opened[1]() is not None
    assert opened[1]() is None
    assert list(ask(open_model, "", questions[:0], how, None)) == [] and len(opened) == 2


def test_speed_counts_what_was_asked(model, questions, how):
    speed = Speed()
    said = [answer for _, answer in ask(lambda: model, "", questions[:12], how, None, speed=speed)]
    assert (speed.questions, speed.tokens) == (12, sum(answer.tokens + (not answer.cut) for answer in said))
    assert speed.seconds > 0


@pytest.mark.usefixtures("blocks")
def test_progress_is_shown_with_the_time_left(model, questions, how, capsys):
    list(ask(lambda: model, "", questions, how, None, "test set"))
    assert f"test set: {len(questions)}/{len(questions)}" in capsys.readouterr().out


def test_questions_that_are_too_long_are_found_before_any_is_asked(make_model, processor, questions, how):
    small = strong_model(make_model(seed=4), processor, seed=4)
    tokens = [len(prompt_ids(processor, q, questions.words(i, q, how.preset), how)) for i, q in enumerate(questions)]
    small.model.config.get_text_config().max_position_embeddings = max(tokens) + how.max_new_tokens - 1
    long = {q.record for q, count in zip(questions, tokens, strict=True) if count == max(tokens)}
    with pytest.raises(DataError, match=f"of {len(long)} records are too long: {sorted(long)[0]}") as told:
        next(ask(lambda: small, "", questions, how, None))
    assert f"the longest needs {max(tokens) + how.max_new_tokens} of" in str(told.value)
    small.model.config.get_text_config().max_position_embeddings += 1
    next(ask(lambda: small, "", questions, how, None))


class Talks(list):
    """Questions as ``Questions`` gives them."""

    def words(self, number, question, preset):
        return question.content

    def choices(self, number, question):
        return ()


def test_of_a_conversation_that_is_too_long_the_beginning_is_left_out(model, questions, how):
    """Not in silence; the image stays, and what one question alone needs is refused."""
    turns = tuple(Turn(f"what is it? {number}", "a red circle") for number in range(9))
    last = replace(next(q for q in questions if q.task == "vqa"), earlier=turns, content="and then?")
    processor, room = model.processor, len(prompt_ids(model.processor, last, last.content, how)) - 1
    ids = prompt_ids(processor, last, last.content, how, room)
    assert ids == prompt_ids(processor, replace(last, earlier=turns[1:]), last.content, how)
    assert ids.count(processor.image_token_id) == processor.num_query_tokens
    alone = replace(last, earlier=())
    assert prompt_ids(processor, last, last.content, how, 1) == prompt_ids(processor, alone, last.content, how)
    limit, asked = how.max_new_tokens, Talks([last, alone])
    assert answering.check_room(processor, asked, how, room + limit + 1, limit) == 0
    assert answering.check_room(processor, asked, how, room + limit, limit) == 1
    with pytest.raises(DataError, match="questions of 1 records are too long"):
        answering.check_room(processor, asked, how, len(prompt_ids(processor, alone, last.content, how)), limit)
    small = room + limit
    (request,) = answering.block_requests(processor, Talks([last]), [last], how, (small, limit))
    assert request.prompt_ids == ids


@pytest.mark.usefixtures("blocks")
def test_presets_put_questions_in_their_words(model, smoke, questions):
    """The authors' prompt has no BOS token and no space before the assistant's mark; answers end at the mark."""
    released = stage_asking(smoke, "stage1", "authors_released")
    number, question = next((i, q) for i, q in enumerate(questions) if q.task == "vqa")
    words = questions.words(number, question, released.preset)
    assert words == f"[vqa] Based on the image, respond to this question with a short answer: {question.content}"
    ids = prompt_ids(model.processor, question, words, released)
    tokenizer = model.processor.tokenizer
    slot = model.processor.image_token_id
    texts = [
        tokenizer.decode([i for i in part if i != slot]) for part in (ids[: ids.index(slot)], ids[ids.index(slot) :])
    ]
    assert texts == ["###Human: <Img>", f"</Img> {words}###Assistant: "]
    own = stage_asking(smoke, "stage1", "as_trained")
    assert {prompt.end_mark for prompt in released.prompts.values()} == {"###"}
    assert own.prompts["caption"] == smoke.stage1.prompt and own.prompts["vqa"] == smoke.stage4.prompt
    assert prompt_ids(model.processor, question, "why", own)[0] == tokenizer.bos_token_id != ids[0]


def test_an_answer_ends_where_its_mark_is_written_in_other_tokens(model, questions, how, monkeypatch):
    def run_on(self, features_NQD, block):
        return [Response(text="red ###Assistant: blue", tokens=9, cut=True, logprob=0.0) for _ in block]

    monkeypatch.setattr(Answerer, "answer", run_on)
    assert set(texts(ask(lambda: model, "", questions, how, None))) == {"red"}


def test_an_answer_ends_at_the_mark_of_the_prompt_that_asked_it(model, smoke, questions, monkeypatch):
    """Stages 1 and 2 are asked for captions in their own form, for the rest in the last stage's."""
    seen = set()

    def note(self, features_NQD, block):
        seen.update(request.end_mark for request in block)
        return [Response(text="red", tokens=1, cut=False, logprob=0.0) for _ in block]

    monkeypatch.setattr(Answerer, "answer", note)
    list(ask(lambda: model, "", questions, stage_asking(smoke, "stage1", "as_trained"), None))
    assert seen == {smoke.stage1.prompt.end_mark, smoke.stage4.prompt.end_mark} == {"\n", "###"}
