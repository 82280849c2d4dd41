"""What a client may ask, in OpenAI's form, and the errors in the same form.

One message of the user with one image, as a data URL, and one text: what the model was trained on. Images are never
fetched from the network.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinygptv.serving.settings import Settings

_DATA_URL = re.compile(r"data:image/(png|jpeg|webp);base64,", re.ASCII)
INVALID = "invalid_request_error"


class RequestError(Exception):
    """A request that is answered with a 4xx: ``message`` names the thing and the limit."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, retry: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = {"Retry-After": "1"} if retry else {}

    def content(self) -> dict[str, Any]:
        """The body of the answer."""
        return error_content(self.status, self.message, code=self.code, param=self.param)


def error_content(status: int, message: str, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kind = {429: "rate_limit_error", 500: "server_error"}.get(status, INVALID)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True, slots=True)
class Question:
    """A checked request."""

    source: str
    """Which of the served models."""
    image: bytes
    text: str
    max_tokens: int | None = None
    """Longest answer; None: what the model's generation configuration says."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _ImageURL(_Strict):
    url: str
    detail: Literal["auto", "low", "high"] | None = None  # the model has one resolution


class _ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: _ImageURL


class _TextPart(_Strict):
    type: Literal["text"]
    text: str


class _Message(_Strict):
    role: Literal["user"]
    content: list[Annotated[_ImagePart | _TextPart, Field(discriminator="type")]]
    name: str | None = None


class _ChatRequest(_Strict):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    n: Literal[1] | None = None
    temperature: Annotated[float, Field(ge=0, le=0)] | None = None  # answers are greedy
    top_p: Annotated[float, Field(ge=1, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None  # greedy answers need none
    user: str | None = None


def parse(body: bytes, settings: Settings) -> Question:
    """Check a body of ``/v1/chat/completions``.

    Raises:
        RequestError: it is not of the form above, or beyond a limit.
    """
    try:
        request = _ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _from_validation(error) from None
    if request.stream:
        raise RequestError(400, "streaming is not supported: answers are short; leave `stream` out", param="stream")
    if len(request.messages) != 1:
        raise RequestError(
            400, f"{len(request.messages)} messages; send one, of role `user`: the model knows single questions only"
        )
    parts = request.messages[0].content
    urls = [part.image_url.url for part in parts if isinstance(part, _ImagePart)]
    texts = [part.text for part in parts if isinstance(part, _TextPart)]
    if len(urls) != 1 or len(texts) != 1:
        raise RequestError(
            400, f"{len(urls)} images and {len(texts)} texts; send one part `image_url` and one part `text`"
        )
    limits = [limit for limit in (request.max_tokens, request.max_completion_tokens) if limit is not None]
    return Question(request.model, data_url(urls[0], settings), texts[0], min(limits, default=None))


def check_text(text: str, settings: Settings) -> None:
    """Check a question's text; else raise ``RequestError``."""
    if not text.strip():
        raise RequestError(400, "the question is empty; ask something", param="messages")
    if len(text) > settings.max_text:
        raise RequestError(
            400, f"the question has {len(text)} characters; the limit is {settings.max_text}", param="messages"
        )


def data_url(url: str, settings: Settings) -> bytes:
    """The content of a data URL with an image.

    Raises:
        RequestError: it is another address, of another type, damaged or too large.
    """
    start = _DATA_URL.match(url)
    if start is None:
        raise RequestError(
            400,
            f"{url[:40]!r} is no image: send `data:image/png;base64,...` (or jpeg, webp); addresses are not fetched",
            param="image_url",
        )
    if (len(url) - start.end()) // 4 * 3 > settings.max_image_bytes + 2:
        raise RequestError(413, f"the image has more than {settings.max_image_bytes} bytes", param="image_url")
    try:
        return base64.b64decode(url[start.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, f"the image is not valid base 64 ({error})", param="image_url") from None


def _from_validation(error: ValidationError) -> RequestError:
    """The first thing that is wrong, without what the client sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or None
    message = first["msg"] if place is None else f"{place}: {first['msg']}"
    return RequestError(400, message[:500], param=place and place[:200])
