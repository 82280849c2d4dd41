"""Answers as server-sent events: joined they are the whole answer, in whole characters; who leaves is let go."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.serving.helpers import (
    QUESTIONS,
    altered,
    leave_at_a_word,
    models_of,
    pictures,
    post_all,
    question,
    said,
    scripted,
    talk,
)
from tinygptv.ground.errors import NotFiniteError
from tinygptv.model.inference import VisionLanguageModel

IMAGE = pictures(1)[0]


def chunks(response: httpx.Response) -> list[ChatCompletionChunk]:
    """The events of an answer, which has its end."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, last, rest = response.text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    assert all(event.startswith("data: ") for event in events)
    return [ChatCompletionChunk.model_validate_json(event[6:], strict=True) for event in events]


def deltas(found: Sequence[ChatCompletionChunk]) -> list[str]:
    return [chunk.choices[0].delta.content or "" for chunk in found if chunk.choices]


def test_joined_it_is_the_answer_that_others_get_whole(models):
    pairs = [(image, text) for image in pictures(4) for text in QUESTIONS]
    bodies = [
        question(models.sources[i % 2], *pair, stream=streamed, stream_options={"include_usage": True})
        for i, pair in enumerate(pairs)
        for streamed in (True, False)
    ]
    responses = talk(models, lambda client, _: post_all(client, bodies))
    grown = 0
    for streamed, plain in zip(responses[::2], responses[1::2], strict=True):
        found, whole = chunks(streamed), plain.json()
        assert "".join(deltas(found)) == said(plain)
        assert {chunk.model for chunk in found} == {whole["model"]} and len({chunk.id for chunk in found}) == 1
        assert [c.choices[0].finish_reason for c in found if c.choices][-1] == whole["choices"][0]["finish_reason"]
        assert found[-1].choices == [] and found[-1].usage is not None
        assert found[-1].usage.model_dump(exclude_none=True) == whole["usage"]
        grown += sum(map(bool, deltas(found))) > 1
    assert grown > 10, "answers must come in pieces"


def test_without_being_asked_it_counts_nothing(models, one):
    (response,) = talk(models, lambda client, _: post_all(client, [question(one, IMAGE, "why", stream=True)]))
    found = chunks(response)
    assert all(chunk.choices and chunk.usage is None for chunk in found)
    assert found[0].choices[0].delta.role == "assistant"


def test_characters_of_several_tokens_come_whole(make_model, processor, tmp_path):
    text = "a 😀 é  ü"
    ids = processor.tokenizer(text)["input_ids"]
    assert len(ids) > len(text) + 2, "some characters must be several tokens"
    model = scripted(make_model(), processor, [*ids, processor.end_mark_id], limit=len(ids) + 1)
    models = models_of(tmp_path, {"one": model})
    body = question(models.sources[0], IMAGE, "what?", stream=True)
    (response,) = talk(models, lambda client, _: post_all(client, [body]))
    pieces = [piece for piece in deltas(chunks(response)) if piece]
    assert "".join(pieces) == text
    assert pieces[0] == "a" and "\N{REPLACEMENT CHARACTER}" not in response.text
    assert len(pieces) > 3


def test_what_is_refused_has_its_status(models, one):
    bodies = [question(one, b"no image", "why", stream=True), question("another", IMAGE, "why", stream=True)]
    assert [r.status_code for r in talk(models, lambda client, _: post_all(client, bodies))] == [400, 404]


def halting(model: VisionLanguageModel, act: Callable[[], object], says: bool = True) -> VisionLanguageModel:
    """A model that says a token of each answer at most, and acts before the next one."""

    def join(chorus: Any, features: Any, prompts: Any, speeches: Any) -> None:
        if says:
            model.join(chorus, features, prompts, speeches)
            chorus.step = act
        else:
            act()

    return altered(model, join=join)


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "kind"), [(NotFiniteError("no numbers"), "no numbers"), (RuntimeError("secret"), "log says why")]
)
def test_a_fault_after_the_first_word_is_an_event(known, tmp_path, error, kind):
    models = models_of(tmp_path, {"one": halting(known["one"], failing(error))})
    body = question(models.sources[0], IMAGE, "why", stream=True)
    (response,) = talk(models, lambda client, _: post_all(client, [body]))
    assert response.status_code == 200
    *_, event, rest = response.text.split("\n\n")
    assert rest == "" and kind in json.loads(event[6:])["error"]["message"]
    assert "secret" not in response.text


def test_a_fault_before_the_first_word_is_a_status(known, tmp_path):
    models = models_of(tmp_path, {"one": halting(known["one"], failing(NotFiniteError("no numbers")), says=False)})
    body = question(models.sources[0], IMAGE, "why", stream=True)
    (response,) = talk(models, lambda client, _: post_all(client, [body]))
    assert (response.status_code, response.json()["error"]["code"]) == (500, "not_finite")


def test_who_hangs_up_between_two_words_is_let_go(known, tmp_path):
    may = threading.Event()
    models = models_of(tmp_path, {"one": halting(known["one"], lambda: may.wait(20))})
    body = question(models.sources[0], IMAGE, "why", stream=True)
    sent: list[bytes] = []

    async def act(client, engine):
        await asyncio.wait_for(leave_at_a_word(engine, body, sent), 20)
        may.set()
        return (await client.get("/metrics")).text

    figures = talk(models, act)
    assert not any(b"[DONE]" in part for part in sent)
    assert "tinygptv_requests_at_once 0.0" in figures
