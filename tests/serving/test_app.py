"""The service over its own interface: answers as offline ones, refusals that name what is wrong, limits, figures."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zlib

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.helpers import (
    QUESTIONS,
    altered,
    data_url,
    encoded,
    models_of,
    pictures,
    post_all,
    question,
    said,
    scripted,
    talk,
)
from tinygptv.serving.app import COMPLETIONS, create_app
from tinygptv.serving.limits import ServiceLimits

IMAGE = pictures(1)[0]
JSON = {"Content-Type": "application/json"}
TALL = encoded(Image.new("1", (1, 20_000)))
SMALL_LIMITS = ServiceLimits(max_image_bytes=2000, max_text=30)


def asked(count: int) -> list[tuple[bytes, str]]:
    images = pictures(6)
    return [(images[i % 6], QUESTIONS[i % len(QUESTIONS)]) for i in range(count)]


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    head = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_answers_are_those_of_the_model_itself_also_among_malformed_requests(models, known):
    pairs = asked(60)
    sources = [models.sources[i % 2] for i in range(60)]
    expected = [known[s.rpartition("/")[2]].answer([i], [t])[0] for s, (i, t) in zip(sources, pairs, strict=True)]
    assert len(set(expected)) > 6, "the answers must differ for this test to mean something"
    bodies = [question(source, *pair) for source, pair in zip(sources, pairs, strict=True)]
    for place in (7, 23, 41):
        bodies[place] = question(sources[place], b"no image", "why?")

    async def act(client, engine):
        return await post_all(client, bodies), (await client.get("/metrics")).text

    responses, figures = talk(models, act)
    for place, response in enumerate(responses):
        if place in (7, 23, 41):
            assert response.status_code == 400
        else:
            assert said(response) == expected[place]
            assert response.json()["model"] == sources[place]
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(figures)
        for sample in family.samples
    }
    assert values["tinygptv_requests_total", COMPLETIONS, "200"] == 57
    assert values["tinygptv_requests_total", COMPLETIONS, "400"] == 3
    assert values["tinygptv_batch_sum",] == 57 > 3 * values["tinygptv_batch_count",]
    assert values["tinygptv_requests_at_once",] == values["tinygptv_waiting",] == 0
    assert values["tinygptv_serving", models.sources[0], models.sources[0]] == 1
    assert values["process_resident_memory_bytes",] > 1e7


def test_the_form_of_an_answer(models, one, known):
    async def act(client, engine):
        return await post_all(client, [question(one, IMAGE, "why", max_tokens=limit) for limit in (1, 500)])

    short, whole = (response.json() for response in talk(models, act))
    assert short["object"] == "chat.completion"
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] <= 1
    assert short["usage"]["total_tokens"] == sum(short["usage"][f"{k}_tokens"] for k in ("prompt", "completion"))
    expected = known["one"].answer([IMAGE], ["why"])[0]
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": expected}
    assert short["id"] != whole["id"]


ENDS = {
    "no end": (["Ġred", "Ġred", "Ġred", "Ġred"], "length", 3),
    "an end right after the limit": (["Ġred", "Ġcircle", "Ġred", "end"], "length", 3),
    "an end at the limit": (["Ġred", "Ġcircle", "end"], "stop", 2),
    "more tokens in the text than were said": (["Ġconcise", "end"], "stop", 1),
    "fewer tokens in the text than were said": (["r", "e", "d"], "length", 3),
    "blanks alone": (["Ġ", "Ġ", "Ġ"], "length", 3),
    "nothing": (["end"], "stop", 0),
    "the end of all text": (["Ġred", "<|endoftext|>"], "stop", 1),
}
"""What a model says, with room for three tokens; why it ended, and the tokens of its answer."""


@pytest.mark.parametrize("name", ENDS)
def test_an_answer_is_cut_where_its_tokens_say_so(make_model, processor, tmp_path, name):
    words, reason, count = ENDS[name]
    ids = [
        processor.end_mark_id if word == "end" else processor.tokenizer.convert_tokens_to_ids(word) for word in words
    ]
    assert None not in ids and processor.tokenizer.unk_token_id not in ids
    models = models_of(tmp_path, {"one": scripted(make_model(), processor, ids, limit=3)})

    async def act(client, engine):
        bodies = [question(models.sources[0], IMAGE, text) for text in ("a", "why is that so?")]
        return [(await post_all(client, [body]))[0] for body in bodies]  # it says one script at a time

    for response in talk(models, act):
        assert response.json()["choices"][0]["finish_reason"] == reason
        assert response.json()["usage"]["completion_tokens"] == count


def test_formats_of_images(models, one, known):
    image = Image.open(io.BytesIO(IMAGE))
    files = {kind: encoded(image, kind.upper()) for kind in ("png", "jpeg", "webp")}
    files["gif"] = encoded(image, "GIF")

    async def act(client, engine):
        bodies = [question(one, data_url(content, kind), "why") for kind, content in files.items()]
        return await post_all(client, [*bodies, question(one, data_url(files["gif"]), "why")])

    *good, gif, hidden_gif = talk(models, act)
    assert list(map(said, good)) == known["one"].answer([files[k] for k in ("png", "jpeg", "webp")], ["why"] * 3)
    assert gif.status_code == hidden_gif.status_code == 400


def changed(**changes):
    return question("one", IMAGE, "why") | changes


def message(*parts, role="user"):
    return changed(messages=[{"role": role, "content": list(parts)}])


PART = {"type": "image_url", "image_url": {"url": data_url(IMAGE)}}
TEXT = {"type": "text", "text": "why"}
REFUSED = {
    "no JSON": (b"{", 400, "JSON"),
    "no object": (b"[]", 400, "object"),
    "deep": (b"[" * 5000, 400, "JSON"),
    "lone surrogate": (json.dumps(message(PART, {"type": "text", "text": "\ud800"})).encode(), 400, "hex escape"),
    "no model": ({"messages": []}, 400, "model"),
    "another model": (changed(model="gpt-4"), 404, "gpt-4"),
    "unknown parameter": (changed(tool=[]), 400, "tool"),
    "warm": (changed(temperature=0.7), 400, "temperature"),
    "several": (changed(n=2), 400, "n: "),
    "no tokens": (changed(max_tokens=0), 400, "max_tokens"),
    "no message": (changed(messages=[]), 400, "0 images and 0 texts"),
    "system": (message(PART, TEXT, role="system"), 400, "role"),
    "plain text": (changed(messages=[{"role": "user", "content": "why"}]), 400, "0 images and 1 texts"),
    "no image": (message(TEXT), 400, "0 images and 1 texts"),
    "two images": (message(PART, PART, TEXT), 400, "2 images and 1 texts"),
    "audio": (message(PART, TEXT, {"type": "input_audio"}), 400, "input_audio"),
    "empty": (message(PART, {"type": "text", "text": " \n"}), 400, "empty"),
    "long": (message(PART, {"type": "text", "text": "a " * 20}), 400, "30"),
    "address": (question("one", "http://127.0.0.1/x.png", "why"), 400, "not fetched"),
    "file": (question("one", "file:///etc/passwd", "why"), 400, "not fetched"),
    "svg": (question("one", "data:image/svg+xml;base64,AAAA", "why"), 400, "decoded"),
    "base 64": (question("one", "data:image/png;base64,@@@@", "why"), 400, "base 64"),
    "empty image": (question("one", b"", "why"), 400, "decoded"),
    "cut image": (question("one", IMAGE[:-30], "why"), 400, "decoded"),
    "big file": (question("one", b"x" * 2001, "why"), 413, "2000 bytes"),
    "big body": (b" " * 100_000, 413, "limit"),
    "bomb": (question("one", png_of(50_000, 50_000), "why"), 400, "decompression bomb"),
    "many pixels": (question("one", png_of(8000, 5001), "why"), 400, "8000x5001"),
    "line": (question("one", TALL, "why"), 400, "20000"),
    "dot": (question("one", encoded(Image.new("RGB", (3, 3))), "why"), 400, "3x3"),
}


@pytest.fixture(scope="module")
def refusals(known, tmp_path_factory):
    """What the service says to each of the above."""
    models = models_of(tmp_path_factory.mktemp("refusing"), known)
    one = models.sources[0]

    async def act(client, engine):
        found = {}
        for name, (body, *_) in REFUSED.items():
            if isinstance(body, dict) and body.get("model") == "one":
                body = body | {"model": one}
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            found[name] = await client.post(COMPLETIONS, content=content, headers=JSON)
        return found

    return talk(models, act, SMALL_LIMITS)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_what_is_wrong(refusals, name):
    _, status, words = REFUSED[name]
    response = refusals[name]
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert len(response.content) < 1000, "what was sent must not come back"


def test_a_question_must_fit_the_model(models, one):
    async def act(client, engine):
        return await client.post(COMPLETIONS, json=question(one, IMAGE, "what " * 700))

    response = talk(models, act)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_other_ways_in_are_closed(models, one):
    body = question(one, IMAGE, "why")

    async def act(client, engine):
        post = client.post
        plain = await post(COMPLETIONS, content=json.dumps(body), headers={"Content-Type": "text/plain"})
        hosts = ("evil.test", "127.0.0.1.evil.test:80", "evil.test:127.0.0.1", "")
        foreign = [await post(COMPLETIONS, json=body, headers={"Host": host}) for host in hosts]
        page = await post(COMPLETIONS, json=body, headers={"Origin": "http://evil.test"})
        null = await post(COMPLETIONS, json=body, headers={"Origin": "null"})
        own = await post(COMPLETIONS, json=body, headers={"Origin": "http://127.0.0.1"})
        neighbour = await post(COMPLETIONS, json=body, headers={"Origin": "http://127.0.0.1:3000"})

        async def parts():
            yield b"{}"

        chunked = await post(COMPLETIONS, content=parts(), headers=JSON)
        return (
            *foreign,
            plain,
            page,
            null,
            neighbour,
            chunked,
            await client.get("/nix"),
            await client.get(COMPLETIONS),
            await post(COMPLETIONS, json=body, headers={"Host": "LOCALHOST:80"}),
            own,
        )

    *refused, named, own = talk(models, act)
    statuses = [response.status_code for response in refused]
    assert statuses == [400, 400, 400, 400, 415, 403, 403, 403, 400, 404, 405]
    for response in refused:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"] and error["type"] == "invalid_request_error"
    said(named)
    assert "access-control-allow-origin" not in own.headers
    said(own)


def test_models_and_health(models):
    async def act(client, engine):
        return await client.get("/v1/models"), await client.get("/health")

    listed, health = talk(models, act)
    assert [model["id"] for model in listed.json()["data"]] == list(models.sources)
    assert health.json() == {"status": "ok", "models": models.versions()}


def blocked(model, may):
    """A served model that waits until it may look at images; and how many it was shown each time."""
    counts = []

    def encode_images(images, batch_size):
        counts.append(len(images))
        assert may.wait(20)
        return model.encode_images(images, batch_size)

    return altered(model, encode_images=encode_images), counts


@pytest.mark.parametrize("limits", [ServiceLimits(max_requests=3), ServiceLimits(max_bytes=1500)])
def test_a_full_queue_says_so_at_once_and_loses_nothing(known, tmp_path, limits):
    may = threading.Event()
    models = models_of(tmp_path, {"one": blocked(known["one"], may)[0]})
    body = question(models.sources[0], IMAGE, "why")
    length = len(json.dumps(body))
    fit = 3 if limits.max_requests == 3 else limits.max_bytes // length
    assert 1 < fit < 8

    async def act(client, engine):
        content = json.dumps(body)
        tasks = [client.post(COMPLETIONS, content=content, headers=JSON) for _ in range(8)]
        first = [asyncio.create_task(task) for task in tasks]
        done, waiting = await asyncio.wait(first, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 8 - fit:
            more, waiting = await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        refused = [task.result() for task in done]
        may.set()
        return refused, [await task for task in waiting], await client.post(COMPLETIONS, json=body)

    refused, answered, after = talk(models, act, limits)
    assert [(r.status_code, r.headers["retry-after"]) for r in refused] == [(429, "1")] * (8 - fit)
    assert len({said(r) for r in [*answered, after]}) == 1


def test_a_question_whose_client_hangs_up_is_not_answered(known, tmp_path):
    may = threading.Event()
    counting, counts = blocked(known["one"], may)
    models = models_of(tmp_path, {"one": counting})
    content = json.dumps(question(models.sources[0], IMAGE, "why")).encode()
    heads = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    heads += [(b"content-length", str(len(content)).encode())]
    scope = {"type": "http", "method": "POST", "path": COMPLETIONS, "headers": heads, "query_string": b""}
    sent = []

    async def act(client, engine):
        gone = asyncio.Event()
        body = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive():
            if not body:
                await gone.wait()
            return body.pop() if body else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        async def until(figure):
            async with asyncio.timeout(20):
                while figure not in engine.metrics.text():
                    await asyncio.sleep(0.01)

        stays = asyncio.create_task(client.post(COMPLETIONS, content=content, headers=JSON))
        await until(b"tinygptv_requests_at_once 1.0")
        while not counts:
            await asyncio.sleep(0.01)
        leaves = asyncio.create_task(create_app(engine)(scope, receive, send))
        await until(b"tinygptv_waiting 1.0")
        gone.set()
        await leaves
        may.set()
        return await stays

    said(talk(models, act))
    assert sent[0]["status"] == 499
    assert counts == [1]


def test_a_fault_is_a_500_without_its_text_and_the_next_question_is_answered(known, tmp_path):
    whole = known["one"]

    def encode_images(images, batch_size):
        if len(images) == 2:
            raise RuntimeError("secret")
        return whole.encode_images(images, batch_size)

    def join(chorus, features, prompts, speeches):
        if any("break" in prompt for prompt in prompts):
            raise RuntimeError("secret")
        whole.join(chorus, features, prompts, speeches)

    models = models_of(tmp_path, {"one": altered(whole, encode_images=encode_images, join=join)})
    one = models.sources[0]

    async def act(client, engine):
        images = pictures(2)
        return await post_all(client, [question(one, images[0], "why"), question(one, images[1], "break")])

    good, bad = talk(models, act)
    said(good)
    assert bad.status_code == 500
    assert set(bad.json()["error"]) == {"message", "type", "param", "code"}
    assert bad.json()["error"]["type"] == "server_error"
    assert "secret" not in bad.text
