"""Requests as clients write them: data URLs in every dialect, fields at their defaults, OpenAI's own client."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import quote, quote_from_bytes

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from tests.serving.helpers import data_url, encoded, pictures, post_all, question, said, talk
from tinygptv.serving.app import COMPLETIONS, MODELS

IMAGE = next(
    image for image in pictures(200) if len(image) % 3 and {43, 47} <= set(base64.b64encode(image))
)  # its base 64 has padding, + and /
TEXT = "what colour is the circle?"
PLAIN = base64.b64encode(IMAGE).decode()
SAFE = base64.urlsafe_b64encode(IMAGE).decode()


def broken(text: str, width: int, end: str = "\n") -> str:
    return end.join(text[place : place + width] for place in range(0, len(text), width))


URLS = {
    "plain": f"data:image/png;base64,{PLAIN}",
    "upper case": f"DATA:IMAGE/PNG;BASE64,{PLAIN}",
    "a parameter": f"data:image/png;name=a.png;base64,{PLAIN}",
    "parameters": f"data:image/png; charset=utf-8; name=a.png; base64,{PLAIN}",
    "another type": f"data:image/jpg;base64,{PLAIN}",
    "no type": f"data:;base64,{PLAIN}",
    "no image type": f"data:application/octet-stream;base64,{PLAIN}",
    "lines of mail": f"data:image/png;base64,{broken(PLAIN, 76, chr(13) + chr(10))}",
    "lines": f"data:image/png;base64,\n{broken(PLAIN, 64)}\n",
    "spaces around": f"  data:image/png;base64, {PLAIN} ",
    "URL-safe": f"data:image/png;base64,{SAFE}",
    "no padding": f"data:image/png;base64,{PLAIN.rstrip('=')}",
    "URL-safe, no padding": f"data:image/png;base64,{SAFE.rstrip('=')}",
    "escaped": f"data:image/png;base64,{quote(PLAIN, safe='')}",
    "no base 64": f"data:image/png,{quote_from_bytes(IMAGE)}",
}


@pytest.fixture(scope="module")
def plain(models, one):
    """What the service says to the plainest form."""
    (response,) = ask(models, question(one, IMAGE, TEXT))
    return said(response)


def ask(models, *bodies):
    return talk(models, lambda client, _: post_all(client, bodies))


def with_content(one, content, **more):
    return {"model": one, "messages": [{"role": "user", "content": content}], **more}


def image_part(url=None, **more):
    return {"type": "image_url", "image_url": {"url": url or data_url(IMAGE), **more}}


def text_part(text=TEXT):
    return {"type": "text", "text": text}


def test_the_dialects_differ():
    assert len(set(URLS.values())) == len(URLS)
    assert PLAIN != SAFE
    assert PLAIN.endswith("=")


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_dialects_of_data_urls(models, one, plain, url):
    responses = ask(
        models, question(one, url, TEXT), with_content(one, [{"type": "image_url", "image_url": url}, text_part()])
    )
    assert [said(response) for response in responses] == [plain] * 2


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64",
        "data:image/png;base64,A",
        "data:image/png;base64,@@@@",
        f"data:image/png,{PLAIN}",
        PLAIN,
        "",
    ],
)
def test_damaged_urls_are_refused_and_never_answered_from_the_text(models, one, url):
    (response,) = ask(models, question(one, url, TEXT))
    assert (response.status_code, response.json()["error"]["param"]) == (400, "image_url")


HARMLESS = {
    "stop": [None, []],
    "temperature": [None, 0, 0.0, 1, 1.0],
    "top_p": [None, 1, 1.0],
    "n": [None, 1],
    "frequency_penalty": [None, 0, 0.0],
    "presence_penalty": [None, 0],
    "logit_bias": [None, {}],
    "logprobs": [None, False],
    "top_logprobs": [None, 0],
    "response_format": [None, {"type": "text"}],
    "modalities": [None, ["text"]],
    "tools": [None, []],
    "tool_choice": [None, "none", "auto"],
    "functions": [None, []],
    "parallel_tool_calls": [None, True, False],
    "stream": [None, False],
    "stream_options": [None, {"include_usage": True}],
    "max_tokens": [None, 500],
    "max_completion_tokens": [None, 500],
    "seed": [None, 7, -1],
    "user": [None, "me"],
    "metadata": [None, {}, {"a": "b"}],
    "store": [None, True, False],
    "service_tier": [None, "auto"],
    "reasoning_effort": [None, "none"],
    "safety_identifier": [None, "x"],
    "prompt_cache_key": [None, "x"],
}
HARMFUL = {
    "stop": ["\n", ["a"]],
    "temperature": [0.7, 2, -1, "1"],
    "top_p": [0.5],
    "n": [2, 0],
    "frequency_penalty": [0.1],
    "presence_penalty": [-0.1],
    "logit_bias": [{"50256": -100}],
    "logprobs": [True],
    "top_logprobs": [2],
    "response_format": [{"type": "json_object"}, {"type": "json_schema", "json_schema": {}}],
    "modalities": [["text", "audio"]],
    "tools": [[{"type": "function"}]],
    "tool_choice": ["required"],
    "stream_options": [{"include_usage": 1}, {"more": True}],
    "max_tokens": [0, -1, 1.5],
    "max_completion_tokens": [0],
    "top_k": [5],
}


@pytest.mark.parametrize("field", HARMLESS)
def test_fields_at_harmless_values_change_nothing(models, one, plain, field):
    bodies = [question(one, IMAGE, TEXT, **{field: value}) for value in HARMLESS[field]]
    assert [said(response) for response in ask(models, *bodies)] == [plain] * len(bodies)


@pytest.mark.parametrize("field", HARMFUL)
def test_fields_that_would_change_the_answer_are_refused_by_name(models, one, field):
    for response in ask(models, *(question(one, IMAGE, TEXT, **{field: value}) for value in HARMFUL[field])):
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["param"] or "").partition(".")[0] == field
        assert field in error["message"]


def test_parts_and_messages_in_every_order(models, one, plain):
    half, rest = TEXT.split(" ", 1)
    same = [
        with_content(one, [image_part(), text_part()]),
        with_content(one, [text_part(), image_part(detail="high")]),
        {"model": one, "messages": [{"role": "user", "content": [image_part()]}, {"role": "user", "content": TEXT}]},
    ]
    assert [said(response) for response in ask(models, *same)] == [plain] * 3
    split, joined = ask(
        models,
        with_content(one, [text_part(half), image_part(), text_part(rest)]),
        with_content(one, [text_part(f"{half}\n{rest}"), image_part()]),
    )
    assert said(split) == said(joined)


def test_a_text_without_its_image_is_never_answered(models, one):
    for content in (TEXT, [text_part()], [text_part(), {"type": "image_url"}], [text_part(), image_part(url=" ")]):
        (response,) = ask(models, with_content(one, content))
        assert response.status_code == 400, response.text


def test_bodies_in_chunks(models, one, plain):
    body = json.dumps(question(one, IMAGE, TEXT)).encode()

    async def in_parts(content):
        for place in range(0, len(content), 1000):
            yield content[place : place + 1000]

    async def act(client, engine):
        head = {"Content-Type": "application/json"}
        whole = await client.post(COMPLETIONS, content=in_parts(body), headers=head)
        endless = await client.post(COMPLETIONS, content=in_parts(b" " * (engine.limits.max_body + 1)), headers=head)
        return whole, endless

    whole, endless = talk(models, act)
    assert said(whole) == plain
    assert endless.status_code == 413


def test_a_telephone_s_photo_is_made_small(models, one):
    noise = np.random.default_rng(0).integers(0, 256, (708, 944, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(noise).resize((5664, 4248)), "JPEG")
    (response,) = ask(models, question(one, data_url(photo, "jpeg"), TEXT))
    said(response)


def test_the_openai_client(models, plain):
    async def act(client, engine):
        http = httpx.AsyncClient(transport=client._transport)
        async with openai.AsyncOpenAI(
            base_url="http://127.0.0.1/v1", api_key="x", http_client=http, max_retries=0
        ) as api:
            listed = [model.id async for model in api.models.list()]
            found = await asyncio.gather(*(api.models.retrieve(name) for name in listed))
            with pytest.raises(openai.NotFoundError, match="not served"):
                await api.models.retrieve("gpt-4")
            answer = await api.chat.completions.create(
                model=listed[0],
                messages=[{"role": "user", "content": [text_part(), image_part()]}],
                temperature=1,
                stop=None,
                response_format={"type": "text"},
                max_completion_tokens=100,
                metadata={"a": "b"},
                store=False,
            )
            return listed, [model.id for model in found], answer.choices[0].message.content

    listed, found, answer = talk(models, act)
    assert listed == found == list(models.sources)
    assert answer == plain


def test_models_by_unquoted_name(models):
    async def act(client, engine):
        return [await client.get(f"{MODELS}/{source}") for source in models.sources]

    assert [response.json()["id"] for response in talk(models, act)] == list(models.sources)
