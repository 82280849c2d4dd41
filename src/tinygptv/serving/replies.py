"""Answers in OpenAI's form: whole, or piece by piece as server-sent events.

Source: OpenAI's reference of chat completions (``chat.completion``, ``chat.completion.chunk``); the HTML standard's
server-sent events.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fastapi.responses import StreamingResponse

from tinygptv.serving.models import Answer
from tinygptv.serving.requests import RequestError, error_content

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tinygptv.serving.models import Growing

FAULT = "the question could not be answered; the server's log says why"

log = logging.getLogger(__name__)


def completion(answer: Answer) -> dict[str, Any]:
    """A whole answer."""
    message = {"role": "assistant", "content": answer.text}
    choice = {"index": 0, "message": message, "finish_reason": _reason(answer)}
    return _head("chat.completion", answer.version) | {"choices": [choice], "usage": _usage(answer)}


class Streamed(StreamingResponse):
    """Events, and what is held until they are sent, or their reader has gone."""

    def __init__(self, content: AsyncIterator[str], held: AsyncExitStack) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        async with self._held:
            await super().__call__(scope, receive, send)


async def events(
    first: Growing | Answer, growing: AsyncIterator[Growing | Answer], *, usage: bool
) -> AsyncIterator[str]:
    """The events of an answer. What goes wrong between two of them is one itself: the status was sent before.

    Args:
        first: what was told first.
        growing: what is told then, the answer as the last.
        usage: whether counts of tokens come before the end.
    """
    head, found, sent = _head("chat.completion.chunk", first.version), first, 0
    yield _chunk(head, {"role": "assistant", "content": ""})
    try:
        while True:
            if len(found.text) > sent:
                yield _chunk(head, {"content": found.text[sent:]})
                sent = len(found.text)
            if isinstance(found, Answer):
                break
            found = await anext(growing)
    except RequestError as error:
        yield _event(error.content())
        return
    except Exception:  # as where nothing was sent yet: the log has it, and the client a line
        log.exception("an answer ended before its end")
        yield _event(error_content(500, FAULT))
        return
    yield _chunk(head, {}, _reason(found))
    if usage:
        yield _event(head | {"choices": [], "usage": _usage(found)})
    yield "data: [DONE]\n\n"


def _chunk(head: dict[str, Any], delta: dict[str, str], reason: str | None = None) -> str:
    return _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def _head(kind: str, version: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": version}


def _reason(answer: Answer) -> str:
    return "length" if answer.cut else "stop"


def _usage(answer: Answer) -> dict[str, int]:
    counts = answer.prompt_tokens, answer.tokens
    return {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
