"""Small models with strong opinions, pictures, and clients that talk to the service without a network."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.processing import TinyGPTVProcessor
from tinygptv.serving.app import COMPLETIONS, create_app
from tinygptv.serving.engine import Engine
from tinygptv.serving.limits import ServiceLimits
from tinygptv.serving.models import Models

QUESTIONS = ("what colour is the circle?", "is there a red shape?", "[refer] circle", "[caption] A photo of", "why")
TOKENS = 5


def strong_model(
    model: TinyGPTVForConditionalGeneration, processor: TinyGPTVProcessor, seed: int
) -> VisionLanguageModel:
    """Random weights, large enough that answers differ."""
    import torch
    from transformers import GenerationConfig

    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.4)
        elif "language_model" in name and "_layernorm.weight" in name and "input" not in name:
            torch.nn.init.constant_(parameter, 4.0)  # sharp and strong attention: the image decides
    model.generation_config = GenerationConfig(
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=[processor.end_mark_id, processor.tokenizer.eos_token_id],
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    return VisionLanguageModel(model, processor)


def scripted(
    model: TinyGPTVForConditionalGeneration, processor: TinyGPTVProcessor, script: Sequence[int], limit: int
) -> VisionLanguageModel:
    """A model that says these tokens, whatever it is asked, and has room for ``limit`` of them."""
    import torch

    ready = strong_model(model, processor, seed=0)
    ready.model.generation_config.max_new_tokens = limit
    step = iter(())

    def say(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], logits_BV: torch.Tensor) -> torch.Tensor:
        wanted = torch.full_like(logits_BV, -1e3)
        wanted[:, next(step)] = 1e3
        return wanted

    def start(*_: object) -> None:
        nonlocal step
        step = iter(script)

    ready.model.projector.register_forward_pre_hook(start)
    ready.model.language_model.lm_head.register_forward_hook(say)
    return ready


def altered(model: VisionLanguageModel, **methods: Callable[..., Any]) -> VisionLanguageModel:
    """The same model with other methods."""
    other = copy.copy(model)
    vars(other).update(methods)
    return other


def pictures(count: int) -> list[bytes]:
    """PNG files of four large squares in strong colours."""
    rng = np.random.default_rng(1)
    small = [Image.fromarray(rng.choice([0, 255], (2, 2, 3)).astype(np.uint8)) for _ in range(count)]
    return [encoded(image.resize((24, 24), Image.Resampling.NEAREST)) for image in small]


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def question(model: str, image: bytes | str, text: str, **more: Any) -> dict[str, Any]:
    """A body of ``/v1/chat/completions``."""
    url = image if isinstance(image, str) else data_url(image)
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": model, "messages": [{"role": "user", "content": parts}], **more}


def models_of(folder: Path, known: Mapping[str, VisionLanguageModel]) -> Models:
    """Loaded models behind folders of these names."""
    for name in known:
        (folder / name).mkdir()
    models = Models([str(folder / name) for name in known], load=lambda path, device: known[path.name])
    models.load()
    return models


def talk(
    models: Models, act: Callable[[httpx.AsyncClient, Engine], Awaitable[Any]], limits: ServiceLimits | None = None
) -> Any:
    """Run the service for a block that talks to it."""

    async def run() -> Any:
        engine = Engine(models, limits or ServiceLimits())
        app = create_app(engine)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with engine.running(), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await act(client, engine)

    return asyncio.run(run())


async def post_all(client: httpx.AsyncClient, bodies: Sequence[Any]) -> list[httpx.Response]:
    """All at once."""
    return await asyncio.gather(*(client.post(COMPLETIONS, json=body) for body in bodies))


def said(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


async def leave_at_a_word(engine: Engine, body: Mapping[str, Any], sent: list[bytes]) -> None:
    """Ask, and hang up when the first word has come; what the server sends is added to ``sent``."""
    content, word = json.dumps(body).encode(), asyncio.Event()
    heads = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    heads += [(b"content-length", str(len(content)).encode())]
    scope = {"type": "http", "method": "POST", "path": COMPLETIONS, "headers": heads, "query_string": b""}
    asked = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not asked:
            await word.wait()
        return asked.pop() if asked else {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if b'"delta": {"content"' in sent[-1]:
            word.set()

    await create_app(engine)(scope, receive, send)
