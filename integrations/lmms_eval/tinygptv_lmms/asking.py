"""From questions with images to answers and likelihoods: the model asked as `evaluate` asks it.

Shapes: N images, Q queries, D width.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from tinygptv.data.images import ImageError
from tinygptv.data.prompts import encode_answer
from tinygptv.model.answerer import Answerer, Likelihood, PromptRequest, Response

if TYPE_CHECKING:
    import torch

    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv_lmms.reading import Asked, Settings

IMAGES = 8
"""Of a forward pass of the encoder, which is filled up, so that no neighbour changes a bit."""


class Asker:
    """A model that answers blocks of questions."""

    def __init__(self, model: VisionLanguageModel, batch_size: int) -> None:
        """Ask ``model``, so many questions in a forward pass."""
        self._model, self._batch_size = model, batch_size

    def answers(self, asked: Sequence[Asked], settings: Sequence[Settings]) -> list[str]:
        """The greedy answer to each question, one for each; with its likelihoods (``as_json``) where it has choices.

        Args:
            asked: the questions.
            settings: how each is to be answered.

        Raises:
            UserError: an image is damaged, or a question leaves no room for an answer.
        """
        features_NQD, requests = self._requests(asked)
        wanted = [self._model.max_new_tokens if s.max_new_tokens is None else s.max_new_tokens for s in settings]
        said = self._respond(features_NQD, requests, wanted)
        return [
            as_json(response) if response.choices else each.cut(response.text)
            for each, response in zip(settings, said, strict=True)
        ]

    def losses(self, asked: Sequence[Asked], continuations: Sequence[str]) -> list[tuple[float, bool]]:
        """How unlikely each continuation is as the answer to its question, and whether it is the greedy one.

        Args:
            asked: the questions; one that comes several times is read once.
            continuations: one for each.

        Raises:
            UserError: an image is damaged, or a question leaves no room for an answer.
        """
        features_NQD, requests = self._requests(asked)
        groups: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            groups[request.image, tuple(request.prompt_ids)].append(number)
        choices = [self._encoded(text) for text in continuations]
        merged = [replace(requests[of[0]], choices=[choices[number] for number in of]) for of in groups.values()]
        wanted = [max(len(choice) + 1 for choice in request.choices) for request in merged]
        found: dict[int, tuple[float, bool]] = {}
        for of, response in zip(groups.values(), self._respond(features_NQD, merged, wanted), strict=True):
            for number, likelihood in zip(of, response.choices, strict=True):
                found[number] = -likelihood.logprob, not response.cut and response.text == continuations[number]
        return [found[number] for number in range(len(asked))]

    def _prompt(self, question: Asked) -> list[int]:
        """Token ids of a question in the model's own form, the turns of its conversation before it."""
        processor = self._model.processor
        instructions = [*(text for text, _ in question.earlier), question.instruction]
        *before, last = [processor.prompt_of(text, image=i == 0) for i, text in enumerate(instructions)]
        answers = [answer for _, answer in question.earlier]
        return processor.encode_prompt(last, list(zip(before, answers, strict=True)))

    def _encoded(self, answer: str) -> list[int]:
        processor = self._model.processor
        return encode_answer(processor.tokenizer, answer, processor.end_mark)

    def _requests(self, asked: Sequence[Asked]) -> tuple[torch.Tensor, list[PromptRequest]]:
        """Q-Former outputs [N, Q, D] of the images, each once however often it is asked about, and the prompts."""
        pictures, requests = {}, []
        places: dict[bytes, int] = {}
        for question in asked:
            try:
                picture = self._model.picture(question.image)
            except ImageError as error:
                raise ImageError(error.reason, question.where) from None
            digest = hashlib.sha256(picture.tobytes()).digest()
            place = places.setdefault(digest, len(places))
            pictures[place] = picture
            choices = [self._encoded(text) for text in question.choices]
            requests.append(PromptRequest(image=place, prompt_ids=self._prompt(question), choices=choices))
        return self._model.encode_images(list(pictures.values()), IMAGES, filled=True), requests

    def _respond(
        self, features_NQD: torch.Tensor, requests: Sequence[PromptRequest], wanted: Sequence[int]
    ) -> list[Response]:
        """Responses of at most so many tokens each, and no more than the model has positions for."""
        alike: dict[int, list[int]] = defaultdict(list)
        for number, (request, most) in enumerate(zip(requests, wanted, strict=True)):
            alike[max(1, min(most, self._model.positions - len(request.prompt_ids)))].append(number)
        found: dict[int, Response] = {}
        for limit, numbers in alike.items():
            answerer = Answerer(self._model, self._batch_size, max_new_tokens=limit)
            said = answerer.answer(features_NQD, [requests[number] for number in numbers])
            found |= dict(zip(numbers, said, strict=True))
        return [found[number] for number in range(len(requests))]


def as_json(response: Response) -> str:
    """A response with its likelihoods, in the one text that lmms-eval hands on."""
    return json.dumps(asdict(response))


def as_response(text: str) -> Response:
    """The other way; of a model that gives a text alone, that is all."""
    try:
        said = json.loads(text)
        choices = tuple(Likelihood(**choice) for choice in said.pop("choices"))
        return Response(**said, choices=choices)
    except (ValueError, TypeError, AttributeError, KeyError):
        return Response(text=text, tokens=0, cut=False, logprob=math.nan)
