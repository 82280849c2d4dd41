"""Answers of a model to a block of prompts: what every measurement asks, and what a faster machine may replace.

Shapes: N images, Q queries, D width, B rows of a pass, T tokens, S of them new, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from tinygptv.data.prompts import attended, check_room, end_mark_id

if TYPE_CHECKING:
    import torch

    from tinygptv.model.decoding.decoder import Seen
    from tinygptv.model.inference import VisionLanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How likely an answer is that was not generated."""

    logprob: float
    """Natural logarithm of its probability, end mark included."""
    tokens: int
    """How many tokens that are, end mark included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRequest:
    """What is asked of a model."""

    image: int
    """Number of its image in the block."""
    prompt_ids: Sequence[int]
    """Token ids of the prompt, with the image's slots."""
    choices: Sequence[Sequence[int]] = ()
    """Token ids of answers whose likelihood is asked, without the end mark."""
    end_mark: str | None = None
    """Text that ends its answer; None: that of the model's own prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a model gave."""

    text: str
    """The generated answer, up to its end mark."""
    tokens: int
    """How many tokens that are, without the end mark."""
    cut: bool
    """Whether it ran to the longest that was allowed."""
    logprob: float
    """Natural logarithm of its probability, end mark included where it came."""
    choices: tuple[Likelihood, ...] = ()
    """Of each choice."""


class Answerer:
    """A model before a block of prompts.

    Prompts about one image share what comes up to its end, which is computed once in a pass; a pass has prompts of
    about equal length. What is asked beside a prompt changes the last digits of sums at most.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        batch_size: int,
        *,
        max_new_tokens: int | None = None,
    ) -> None:
        """Let a model answer.

        Args:
            model: the model.
            batch_size: prompts of a forward pass.
            max_new_tokens: longest answer; None: what the model's generation configuration says.
        """
        self._model, self._processor, self._positions = model.model, model.processor, model.positions
        self._decoder = model.decoder
        self._device = self._decoder.device
        self._batch_size = batch_size
        self._limit = model.max_new_tokens if max_new_tokens is None else max_new_tokens
        self._pad: int = model.processor.tokenizer.pad_token_id
        self._eos: int = model.processor.tokenizer.eos_token_id
        self._mark_id = cache(partial(end_mark_id, model.processor.tokenizer))

    def answer(self, features_NQD: torch.Tensor, block: Sequence[PromptRequest]) -> list[Response]:
        """Greedy answers, cut at the end mark, and the likelihood of each choice; one response for each request.

        Args:
            features_NQD: Q-Former outputs of the block's images.
            block: the requests.

        Raises:
            DataError: a prompt leaves no room for its answer or for a choice, or an end mark is several tokens for the
                model's tokenizer; nothing was answered.
            NotFiniteError: the model computes infinities or NaN.
        """
        import torch

        for request in block:
            longest = max([self._limit, *(len(choice) + 1 for choice in request.choices)])
            check_room(len(request.prompt_ids), longest, self._positions)
            self._end(request)
        found: dict[int, Response] = {}
        with torch.no_grad():
            for numbers in _passes(block, self._batch_size):
                answers = self._answer([block[number] for number in numbers], features_NQD)
                found |= dict(zip(numbers, answers, strict=True))
        return [found[number] for number in range(len(block))]

    def _answer(self, requests: Sequence[PromptRequest], features_NQD: torch.Tensor) -> list[Response]:
        """One pass."""
        seen = self._read_prompts(requests, features_NQD)
        chosen = self._likelihoods(requests, seen)
        ends = [(self._end(request), self._eos) for request in requests]
        return [
            Response(
                text=self._processor.decode_answer(said.ids),
                tokens=len(said.ids),
                cut=said.cut,
                logprob=said.logprob,
                choices=choices,
            )
            for said, choices in zip(self._decoder.generate(seen, ends, self._limit), chosen, strict=True)
        ]

    def _end(self, request: PromptRequest) -> int:
        """The token that ends a request's answer."""
        if request.end_mark is None:
            return self._processor.end_mark_id
        return self._mark_id(request.end_mark)

    def _read_prompts(self, requests: Sequence[PromptRequest], features_NQD: torch.Tensor) -> Seen:
        """Go over the prompts: first over what comes up to the end of an image, once for each image."""
        images = list(dict.fromkeys(request.image for request in requests))
        visual_NQD = self._model.projector(features_NQD[images])
        visual_BQD = visual_NQD[[images.index(request.image) for request in requests]]
        prompts_TD = self._decoder.embed([request.prompt_ids for request in requests], visual_BQD)
        heads = [(request.image, tuple(request.prompt_ids[: self._head(request)])) for request in requests]
        groups = {head: number for number, head in enumerate(dict.fromkeys(heads))}
        firsts = [heads.index(head) for head in groups]
        before = self._decoder.read([prompts_TD[first][: len(heads[first][1])] for first in firsts])
        tails, masks = [], []
        for request, prompt_TD, (_, ids) in zip(requests, prompts_TD, heads, strict=True):
            tails.append(prompt_TD[len(ids) :])
            masks.append(attended(request.prompt_ids, self._pad)[len(ids) :])
        return self._decoder.read(tails, before.rows([groups[head] for head in heads]), masks)

    def _head(self, request: PromptRequest) -> int:
        """Tokens of a prompt up to the end of its image, without its last token in any case."""
        slots = [place for place, token in enumerate(request.prompt_ids) if token == self._processor.image_token_id]
        return min(slots[-1] + 1, len(request.prompt_ids) - 1)

    def _likelihoods(self, requests: Sequence[PromptRequest], seen: Seen) -> list[tuple[Likelihood, ...]]:
        """How likely the choices of each request are."""
        asked = [
            (row, choice, self._end(request)) for row, request in enumerate(requests) for choice in request.choices
        ]
        found: list[list[Likelihood]] = [[] for _ in requests]
        for start in range(0, len(asked), self._batch_size):
            part = asked[start : start + self._batch_size]
            for (row, choice, _), logprob in zip(part, self._logprobs(part, seen), strict=True):
                found[row].append(Likelihood(logprob=logprob, tokens=len(choice) + 1))
        return [tuple(of_request) for of_request in found]

    def _logprobs(self, asked: Sequence[tuple[int, Sequence[int], int]], seen: Seen) -> list[float]:
        """Of choices, each with the number of its row, and of the end mark after it, whose token stands behind it."""
        import torch

        table, device = self._model.get_input_embeddings(), self._device
        before = seen.rows([row for row, _, _ in asked])
        last_BD = before.hidden_BSD[:, -1]
        parts = [last_BD[place, None] for place in range(len(asked))]
        if any(choice for _, choice, _ in asked):
            rows_SD = [table(torch.tensor(list(choice), dtype=torch.long, device=device)) for _, choice, _ in asked]
            after_BSD = self._decoder.read(rows_SD, before).hidden_BSD
            parts = [
                torch.cat([part, hidden_SD[len(hidden_SD) - len(choice) :]])
                for part, hidden_SD, (_, choice, _) in zip(parts, after_BSD, asked, strict=True)
            ]
        logits_LV = self._decoder.logits(torch.cat(parts))
        targets = [token for _, choice, end in asked for token in (*choice, end)]
        picked_L = logits_LV[range(len(targets)), targets] - logits_LV.logsumexp(dim=1)
        return [float(part.sum()) for part in picked_L.split([len(choice) + 1 for _, choice, _ in asked])]


def _passes(block: Sequence[PromptRequest], batch_size: int) -> list[list[int]]:
    """Numbers of requests that are answered together: of about equal length, those about an image beside another."""
    order = sorted(range(len(block)), key=lambda number: (len(block[number].prompt_ids) // 16, block[number].image))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
