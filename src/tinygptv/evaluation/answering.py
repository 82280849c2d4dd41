"""Blocks of questions before a model: images decoded ahead by threads and encoded once, words turned into tokens.

Shapes: N images, Q queries, D width.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tinygptv.data.marks import growth, most_bytes
from tinygptv.data.prompts import encode_answer, turn_text
from tinygptv.data.tasks import instruction
from tinygptv.ground.errors import DataError
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from tinygptv.evaluation.presets import Asking
    from tinygptv.evaluation.questions import Question, Questions
    from tinygptv.model.answerer import PromptRequest, Response
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.model.processing import TinyGPTVProcessor

HELD_IMAGES = 1024
"""Images whose Q-Former outputs stay in memory for questions that come later: 100 MB of the full-size model's."""
THREADS = 4
"""That decode images."""

Encoded = OrderedDict[tuple[int, bytes], "torch.Tensor"]
"""Q-Former outputs by image size and image, those used last behind: of models with one image encoder, asked alike."""


class BlockAnswerer:
    """An open model that answers blocks of questions.

    An image is decoded by a thread as soon as its block is announced. Images are encoded in passes of one size, the
    last one filled up: neither what is asked beside an image nor what is held changes a bit of its features.
    """

    def __init__(self, model: VisionLanguageModel, how: Asking, encoded: Encoded) -> None:
        """Let a model answer; it uses what is ``encoded``, and adds to it."""
        from tinygptv.model.answerer import Answerer

        self._model, self._how = model, how
        self._answerer = Answerer(model, how.batch_size, max_new_tokens=how.max_new_tokens)
        self._held, self._size = encoded, int(model.processor.image_processor.size["height"])
        self._decoded: dict[bytes, Future[Image]] = {}
        self._wanted: Counter[bytes] = Counter()
        self._threads = ThreadPoolExecutor(THREADS, "decode")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    @property
    def waiting(self) -> int:
        """How many images are announced and not encoded."""
        return len(self._decoded)

    def check_room(self, questions: Questions) -> None:
        """Find questions that are too long, as ``check_room`` below."""
        check_room(self._model.processor, questions, self._how, *self._room)

    @property
    def _room(self) -> tuple[int, int]:
        """The model's positions, and how many of them an answer may take."""
        limit = self._model.max_new_tokens if self._how.max_new_tokens is None else self._how.max_new_tokens
        return self._model.positions, limit

    def announce(self, questions: Questions, listed: Sequence[Question]) -> None:
        """Begin with the images of a block that will be answered.

        Args:
            questions: the block.
            listed: the same, read.

        Raises:
            DataError: an image is damaged or missing.
        """
        for number, question in _first_of_each(listed):
            image = question.image
            self._wanted[image] += 1
            if (self._size, image) not in self._held and image not in self._decoded:
                # Read here, for an index is of one thread; decoding is the work.
                self._decoded[image] = self._threads.submit(self._model.picture, questions.image_file(number))

    def answer(self, questions: Questions, listed: Sequence[Question]) -> list[Response]:
        """Answers to a block that was announced.

        Args:
            questions: the block.
            listed: the same, read.

        Raises:
            DataError: an image cannot be decoded, or an end mark is several tokens for the model's tokenizer.
            NotFiniteError: the model computes infinities or NaN.
        """
        images = [question.image for _, question in _first_of_each(listed)]
        requests = block_requests(self._model.processor, questions, listed, self._how, self._room)
        answers = self._answerer.answer(self._features(images), requests)
        return [ended(answer, request) for answer, request in zip(answers, requests, strict=True)]

    def _features(self, images: Sequence[bytes]) -> torch.Tensor:
        """Q-Former outputs [N, Q, D] of a block's images."""
        import torch

        keys = [(self._size, image) for image in images]
        while any(key not in self._held for key in keys):
            batch = list(self._decoded)[: self._how.batch_size]
            pictures = [self._decoded.pop(image).result() for image in batch]
            features_NQD = self._model.encode_images(pictures, self._how.batch_size, filled=True)
            for image, query_QD in zip(batch, features_NQD, strict=True):
                self._held[self._size, image] = query_QD.clone()
        for key in keys:
            self._held.move_to_end(key)
        self._wanted -= Counter(images)
        features_NQD = torch.stack([self._held[key] for key in keys])
        spare = [key for key in self._held if key[0] != self._size or key[1] not in self._wanted]
        for key in spare[: max(len(self._held) - HELD_IMAGES, 0)]:
            del self._held[key]
        return features_NQD


def block_requests(
    processor: TinyGPTVProcessor,
    questions: Questions,
    listed: Sequence[Question],
    how: Asking,
    room: tuple[int, int] | None = None,
) -> list[PromptRequest]:
    """What is asked of a model, question by question; images are numbered in the order in which they come first.

    Args:
        processor: the model's.
        questions: the block.
        listed: the same, read.
        how: how they are asked.
        room: the model's positions, and tokens of the longest answer; None: all of every conversation is asked.
    """
    from tinygptv.model.answerer import PromptRequest

    places = {question.image: place for place, (_, question) in enumerate(_first_of_each(listed))}
    requests = []
    for number, question in enumerate(listed):
        asked, choices = questions.words(number, question, how.preset), questions.choices(number, question)
        mark = processor.end_mark if how.prompts is None else how.prompts[question.task].end_mark
        requests.append(
            PromptRequest(
                image=places[question.image],
                prompt_ids=prompt_ids(processor, question, asked, how, room and room[0] - longest(room[1], choices)),
                choices=[encode_answer(processor.tokenizer, choice, mark) for choice in choices],
                end_mark=mark,
            )
        )
    return requests


def ended(answer: Response, request: PromptRequest) -> Response:
    """An answer up to where its end mark is written out: in other tokens than the mark's own it did not end it."""
    assert request.end_mark is not None
    return replace(answer, text=answer.text.partition(request.end_mark)[0].strip())


def longest(max_new_tokens: int, choices: Sequence[str]) -> int:
    """Tokens of the longest answer: a byte-level tokenizer makes at most one of a byte."""
    return max([max_new_tokens, *(len(choice.encode()) + 1 for choice in choices)])


def prompt_ids(
    processor: TinyGPTVProcessor, question: Question, asked: str, how: Asking, room: int | None = None
) -> list[int]:
    """Token ids of a question, those of its conversation before it: as training builds them, with its true answers.

    Args:
        processor: the model's.
        question: the question.
        asked: its instruction.
        how: how it is asked.
        room: tokens at most; of a longer conversation the beginning is left out, turn by turn, until the rest fits, or
            the question stands alone.
    """
    ids = _conversation_ids(processor, question, asked, how)
    while room is not None and len(ids) > room and question.earlier:
        question = replace(question, earlier=question.earlier[1:])
        ids = _conversation_ids(processor, question, asked, how)
    return ids


def _conversation_ids(processor: TinyGPTVProcessor, question: Question, asked: str, how: Asking) -> list[int]:
    prompt = None if how.prompts is None else how.prompts[question.task]
    *before, last = _texts(processor, question, asked, how)
    return processor.encode_prompt(
        last,
        [(text, turn.answer) for text, turn in zip(before, question.earlier, strict=True)],
        end_mark=None if prompt is None else prompt.end_mark,
        bos=None if prompt is None else prompt.bos_at_inference,
        max_answer_tokens=how.max_answer_tokens,
    )


def check_room(
    processor: TinyGPTVProcessor, questions: Questions, how: Asking, positions: int, max_new_tokens: int
) -> int:
    """Find the questions that are too long before any is asked.

    Args:
        processor: the model's.
        questions: what will be asked.
        how: how it will be asked.
        positions: tokens of prompt and answer together at most.
        max_new_tokens: longest answer that is generated.

    Returns:
        How many questions are asked without the beginning of their conversation, for which there is no room.

    Raises:
        DataError: names their records.
    """
    long: dict[str, int] = {}
    shortened = 0
    for number, question in enumerate(questions):
        asked = questions.words(number, question, how.preset)
        room = positions - longest(max_new_tokens, questions.choices(number, question))
        times = growth(processor.end_mark)
        most = sum(len(text.encode()) for text in _texts(processor, question, asked, how)) + processor.num_query_tokens
        most += sum(times * most_bytes(turn.answer) + 1 for turn in question.earlier) + 1
        if most > room and len(prompt_ids(processor, question, asked, how)) > room:
            tokens = len(prompt_ids(processor, question, asked, how, room))
            if tokens > room:
                long[question.record] = max(tokens + positions - room, long.get(question.record, 0))
            shortened += tokens <= room
    if long:
        raise DataError(
            f"the questions of {len(long)} records are too long: {some(list(long))}; with evaluate.max_new_tokens "
            f"{max_new_tokens} the longest needs {max(long.values())} of the model's {positions} positions "
            "(model.text.max_position_embeddings); lower the one, or ask in fewer words"
        )
    return shortened


def _texts(processor: TinyGPTVProcessor, question: Question, asked: str, how: Asking) -> list[str]:
    """The texts before the answers of a conversation, that of the question last."""
    prompt = None if how.prompts is None else how.prompts[question.task]
    told = [*(instruction(question.task, turn.question) for turn in question.earlier), asked]
    if prompt is None:
        return [processor.prompt_of(text, image=i == 0) for i, text in enumerate(told)]
    return [turn_text(prompt, text, first=i == 0) for i, text in enumerate(told)]


def _first_of_each(listed: Sequence[Question]) -> Iterator[tuple[int, Question]]:
    """The first question about each image, with its number."""
    seen: set[bytes] = set()
    for number, question in enumerate(listed):
        if question.image not in seen:
            seen.add(question.image)
            yield number, question
