"""Many users at once, streamed and not: each gets what is said alone, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.serving.helpers import (
    QUESTIONS,
    leave_at_a_word,
    models_of,
    pictures,
    post_all,
    question,
    said,
    strong_model,
    talk,
)
from tinygptv.model import int8
from tinygptv.serving.app import COMPLETIONS
from tinygptv.serving.limits import ServiceLimits

LONGEST = 40
"""Tokens of an answer."""
LENGTHS = (1, 2, 3, 7, 12, 20, LONGEST)


@pytest.fixture(scope="module", params=["float32", "8 bits"])
def patient(request, make_model, processor, tmp_path_factory):
    """A served model that says long answers. Read only."""
    model = strong_model(make_model(seed=4), processor, seed=4)
    if request.param == "8 bits":
        model.model.requires_grad_(False)
        int8.quantize_base(model.model.language_model, outlier_threshold=0.0)
    model.model.generation_config.max_new_tokens = LONGEST
    return models_of(tmp_path_factory.mktemp("served"), {"patient": model})


def bodies_of(source: str, count: int) -> list[dict[str, Any]]:
    """Questions of different lengths, every second one streamed."""
    images = pictures(5)
    return [
        question(source, images[i % 5], QUESTIONS[i % 4], max_tokens=LENGTHS[i % 7], stream=bool(i % 2))
        for i in range(count)
    ]


def text_of(response: httpx.Response) -> tuple[str, str]:
    """What a client reads, and why it ended."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return said(response), response.json()["choices"][0]["finish_reason"]
    *events, last, rest = response.text.split("\n\n")
    assert (response.status_code, last, rest) == (200, "data: [DONE]", "")
    choices = [json.loads(event[6:])["choices"][0] for event in events]
    return "".join(choice["delta"].get("content", "") for choice in choices), choices[-1]["finish_reason"]


@pytest.fixture(scope="module")
def alone(patient) -> list[tuple[str, str]]:
    """What each of twenty is told whom nobody is beside."""

    async def act(client, engine):
        return [text_of((await post_all(client, [body]))[0]) for body in bodies_of(patient.sources[0], 20)]

    found: list[tuple[str, str]] = talk(patient, act)
    assert len(set(found)) > 15, "they must differ for this test to mean something"
    return found


@pytest.mark.parametrize("limit", [3, 64])
def test_each_of_twenty_is_told_what_it_is_told_alone(patient, alone, limit):
    bodies = bodies_of(patient.sources[0], 20)
    bodies[7:7] = [question(patient.sources[0], b"no image", "why", stream=True)]

    async def act(client, engine):
        return await post_all(client, bodies), (await client.get("/metrics")).text

    responses, figures = talk(patient, act, ServiceLimits(max_batch=limit))
    assert responses.pop(7).status_code == 400
    assert [text_of(response) for response in responses] == alone
    assert "tinygptv_waiting 0.0" in figures and f'tinygptv_step_bucket{{le="{4 if limit == 3 else 128}.0"}}' in figures


def test_a_short_question_ends_before_a_long_one_that_was_first(patient):
    long, short = (question(patient.sources[0], pictures(1)[0], "why", max_tokens=count) for count in (LONGEST, 2))
    ended: list[str] = []

    async def act(client, engine):
        async def ask(name, body):
            response = await client.post(COMPLETIONS, json=body)
            ended.append(name)
            return said(response)

        first = asyncio.create_task(ask("long", long))
        async with asyncio.timeout(20):
            while b"tinygptv_step_count 0.0" in engine.metrics.text():
                await asyncio.sleep(0.001)
        return await asyncio.gather(ask("short", short), first)

    texts = talk(patient, act)
    assert ended == ["short", "long"]
    assert texts[1].startswith(texts[0])


def test_a_client_that_goes_frees_its_place_between_two_tokens(patient, alone):
    bodies = bodies_of(patient.sources[0], 20)
    leaver = question(patient.sources[0], pictures(1)[0], "why", stream=True)
    pieces: list[bytes] = []

    async def act(client, engine):
        leaving = asyncio.create_task(leave_at_a_word(engine, leaver, pieces))
        responses = await post_all(client, bodies)
        await leaving
        return responses, (await client.get("/metrics")).text

    responses, figures = talk(patient, act, ServiceLimits(max_batch=1))
    assert [text_of(response) for response in responses] == alone
    assert not any(b"[DONE]" in piece for piece in pieces)
    assert len(pieces) < LONGEST, "the rest of it is not said"
    assert "tinygptv_requests_at_once 0.0" in figures
