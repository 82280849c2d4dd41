"""What a client may ask, in OpenAI's form, and the errors in the same form.

One image, as a data URL, and one question, in one message of the user or in several: what the model was trained on.
Images are never fetched from the network. What clients send by habit is taken at the values that change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator

from tinygptv.data.data_urls import from_data_url, is_data_url
from tinygptv.data.tasks import check_question
from tinygptv.ground.errors import DataError
from tinygptv.serving.limits import ServiceLimits

INVALID = "invalid_request_error"


class RequestError(Exception):
    """A request that is refused: ``message`` names the thing and the limit, or what the model failed at."""

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
class AnswerRequest:
    """A checked request."""

    source: str
    """Which of the served models."""
    image: bytes
    text: str
    max_tokens: int | None = None
    """Longest answer; None: what the model's generation configuration says."""
    stream: bool = False
    """Whether the answer is sent piece by piece."""
    usage: bool = False
    """Whether counts of tokens follow the last piece."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _ImageURL(_Strict):
    url: str
    detail: Literal["auto", "low", "high"] | None = None  # the model has one resolution


class _ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: _ImageURL | str


class _TextPart(_Strict):
    type: Literal["text"]
    text: str


class _Message(_Strict):
    role: Literal["user"]
    content: (
        Annotated[str, Tag("text")]
        | Annotated[list[Annotated[_ImagePart | _TextPart, Field(discriminator="type")]], Tag("parts")]
    ) = Field(discriminator=Discriminator(lambda content: "text" if isinstance(content, str) else "parts"))
    name: str | None = None


class _PlainText(_Strict):
    type: Literal["text"]


class _StreamOptions(_Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # padding against listeners on the network; this service is local


Nothing = Annotated[list[Any], Field(max_length=0)] | None
Zero = Annotated[float, Field(ge=0, le=0)] | None


class _ChatRequest(_Strict):
    """Fields of OpenAI's chat completions that decide the answer, or would, at values that change nothing."""

    model: str
    messages: list[_Message]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    # Answers are greedy: 0 is what happens, 1 what clients send who leave it as it is.
    temperature: Literal[0, 1] | None = None
    top_p: Annotated[float, Field(ge=1, le=1)] | None = None
    frequency_penalty: Zero = None
    presence_penalty: Zero = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    n: Literal[1] | None = None
    stop: Nothing = None
    response_format: _PlainText | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    prediction: None = None
    tools: Nothing = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: Nothing = None
    function_call: Literal["none", "auto"] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    web_search_options: None = None
    stream: bool | None = None

    stream_options: _StreamOptions | None = None

    # These name or file a request; they change no answer.
    parallel_tool_calls: bool | None = None
    seed: int | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None

    @field_validator("temperature", mode="before")
    @classmethod
    def _whole(cls, value: object) -> object:
        return int(value) if isinstance(value, float) and value.is_integer() else value


def parse(body: bytes, limits: ServiceLimits) -> AnswerRequest:
    """Check a body of ``/v1/chat/completions``.

    Raises:
        RequestError: it is not of the form above, or beyond a limit.
    """
    try:
        request = _ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _from_validation(error) from None
    urls, texts = [], []
    for message in request.messages:
        for part in [message.content] if isinstance(message.content, str) else message.content:
            if isinstance(part, _ImagePart):
                urls.append(part.image_url if isinstance(part.image_url, str) else part.image_url.url)
            else:
                texts.append(part if isinstance(part, str) else part.text)
    if len(urls) != 1 or not texts:
        raise RequestError(
            400,
            f"{len(urls)} images and {len(texts)} texts; send one part `image_url` and a part `text`: the model knows "
            "single questions about one image only",
            param="messages",
        )
    longest = [limit for limit in (request.max_tokens, request.max_completion_tokens) if limit is not None]
    return AnswerRequest(
        request.model,
        data_url(urls[0]),
        "\n".join(texts),
        min(longest, default=None),
        stream=bool(request.stream),
        usage=bool(request.stream_options and request.stream_options.include_usage),
    )


def check_text(text: object, limits: ServiceLimits) -> None:
    """Check a question's text; else raise ``RequestError``."""
    try:
        check_question(text, limits.max_text)
    except DataError as error:
        raise RequestError(400, str(error), param="messages") from None


def data_url(url: str) -> bytes:
    """The content of a data URL.

    Raises:
        RequestError: it is another address, or damaged.
    """
    if not is_data_url(url):
        raise RequestError(
            400,
            f"{url[:40]!r} is no image: send `data:image/png;base64,...` (or jpeg, webp); addresses are not fetched",
            param="image_url",
        )
    try:
        return from_data_url(url)
    except ValueError as error:
        raise RequestError(400, f"the image's data URL is damaged: {error}", param="image_url") from None


def _from_validation(error: ValidationError) -> RequestError:
    """The first thing that is wrong, without what the client sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or None
    message = first["msg"] if place is None else f"{place}: {first['msg']}"
    return RequestError(400, message[:500], param=place and place[:200])
