"""Asking a model many questions, block by block: what is stored is not asked again, and little is in memory.

Blocks are those of all questions in their order. A block is answered as a whole, so that neither a kill nor what is
stored changes an answer; the model is opened when a block is missing, and let go after the last.

Shapes: N images, Q queries, D width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tinygptv.data.prompts import encode_answer, turn_text
from tinygptv.data.tasks import instruction
from tinygptv.ground import runtime
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import canonical
from tinygptv.ground.progress import Progress
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    from tinygptv.config import Preset, Prompt, Task
    from tinygptv.evaluation.answer_store import AnswerStore
    from tinygptv.evaluation.questions import Question, Questions
    from tinygptv.model.answerer import Response
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.model.processing import TinyGPTVProcessor

BLOCK = 256
"""Questions that are answered, and stored, together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How questions are put; ``evaluation/presets.py`` makes it."""

    preset: Preset
    """Whose words they are put in."""
    prompts: Mapping[Task, Prompt] | None
    """Task → form of its prompt; None: the model's own."""
    end_mark: str | None
    """Text that ends an answer; None: that of the model's own prompt."""
    batch_size: int
    """Questions, and images, of a forward pass."""
    max_new_tokens: int | None
    """Longest answer; None: the model's own."""
    max_answer_tokens: int | None
    """Earlier answers of a conversation are cut to so many, as they were in training; None: they are whole."""

    def to_json(self) -> dict[str, Any]:
        """All of it, for the key of what is stored."""
        prompts = None if self.prompts is None else {task: p.model_dump() for task, p in self.prompts.items()}
        return {
            "preset": self.preset,
            "prompts": prompts,
            "end_mark": self.end_mark,
            "batch_size": self.batch_size,
            "max_new_tokens": self.max_new_tokens,
            "max_answer_tokens": self.max_answer_tokens,
        }


@dataclass(slots=True)
class Speed:
    """How fast answers came that were not stored."""

    questions: int = 0
    tokens: int = 0
    """Generated, end marks included."""
    seconds: float = 0.0


def ask(
    open_model: Callable[[], VisionLanguageModel],
    model: str,
    questions: Questions,
    how: Asking,
    store: AnswerStore | None,
    shown: str = "",
    speed: Speed | None = None,
) -> Iterator[tuple[Question, Response]]:
    """Questions in their order, each with the model's answer; a block of them is in memory.

    Args:
        open_model: opens the model; called at most once, and not at all where all answers are stored.
        model: digest of all that makes it.
        questions: what is asked.
        how: how it is asked.
        store: where answers are kept; None: nowhere.
        shown: what the progress is shown as; nothing is shown without.
        speed: counts what is not stored.

    Raises:
        DataError: a question is too long for the model (before one is asked), or a record or an image is damaged.
        NotFiniteError: the model computes infinities or NaN.
    """
    key = "" if store is None else store.key(model, questions.digest, how.to_json())
    opened: VisionLanguageModel | None = None
    progress: Progress | None = None
    try:
        for block, start in enumerate(range(0, len(questions), BLOCK)):
            part = questions[start : start + BLOCK]
            listed = list(part)
            asked = _digest(part, listed, how)
            answers = None if store is None else store.read(key, block, asked)
            if answers is None or len(answers) != len(listed):
                if opened is None:
                    opened = open_model()
                    check_room(opened.processor, questions, how, opened.positions, opened.max_new_tokens)
                    progress = Progress(shown, len(questions), start, "question") if shown else None
                began = time.monotonic()
                answers = answer_block(opened, part, listed, how)
                if store is not None:
                    store.write(key, block, asked, answers)
                if speed is not None:
                    speed.seconds += time.monotonic() - began
                    speed.questions += len(answers)
                    speed.tokens += sum(answer.tokens + (not answer.cut) for answer in answers)
            if progress is not None:
                progress.update(start + len(listed))
            yield from zip(listed, answers, strict=True)
    finally:
        with progress or nullcontext():
            pass
        if opened is not None:
            del opened
            runtime.free_memory()


def words(questions: Questions, number: int, question: Question, preset: Preset) -> str:
    """The instruction of a question."""
    return questions.ask(number).benchmark.instruction(preset, question.task, question.content, question.annotation)


def answer_block(
    model: VisionLanguageModel, questions: Questions, listed: list[Question], how: Asking
) -> list[Response]:
    """Answers to questions that are in memory; each image is decoded and encoded once."""
    from tinygptv.model.answerer import Answerer, PromptRequest

    first = {question.image: number for number, question in reversed(list(enumerate(listed)))}
    places = {image: place for place, image in enumerate(first)}
    pictures = [model.picture(questions.image_file(number)) for number in first.values()]
    features_NQD = model.encode_images(pictures, how.batch_size, filled=True)
    answerer = Answerer(model, how.batch_size, max_new_tokens=how.max_new_tokens, end_mark=how.end_mark)
    end_mark = model.processor.end_mark if how.end_mark is None else how.end_mark
    requests = []
    for number, question in enumerate(listed):
        choices = questions.ask(number).benchmark.choices(question.annotation)
        requests.append(
            PromptRequest(
                image=places[question.image],
                prompt_ids=prompt_ids(model.processor, question, words(questions, number, question, how.preset), how),
                choices=[encode_answer(model.processor.tokenizer, choice, end_mark) for choice in choices],
            )
        )
    return answerer.answer(features_NQD, requests)


def prompt_ids(processor: TinyGPTVProcessor, question: Question, asked: str, how: Asking) -> list[int]:
    """Token ids of a question, those of its conversation before it: as training builds them, with its true answers.

    Args:
        processor: the model's.
        question: the question.
        asked: its instruction.
        how: how it is asked.
    """
    earlier = [instruction(question.task, turn.question) for turn in question.earlier]
    prompt = how.prompts[question.task] if how.prompts is not None else None
    texts = [
        processor.prompt_of(text, image=i == 0) if prompt is None else turn_text(prompt, text, first=i == 0)
        for i, text in enumerate([*earlier, asked])
    ]
    return processor.encode_prompt(
        texts[-1],
        [(text, turn.answer) for text, turn in zip(texts, question.earlier, strict=False)],
        end_mark=None if prompt is None else prompt.end_mark,
        bos=None if prompt is None else prompt.bos_at_inference,
        max_answer_tokens=how.max_answer_tokens,
    )


def check_room(
    processor: TinyGPTVProcessor, questions: Questions, how: Asking, positions: int, max_new_tokens: int
) -> None:
    """Find the questions that are too long before any is asked.

    Args:
        processor: the model's.
        questions: what will be asked.
        how: how.
        positions: tokens of prompt and answer together at most.
        max_new_tokens: longest answer, where ``how`` names none.

    Raises:
        DataError: names their records.
    """
    longest = max_new_tokens if how.max_new_tokens is None else how.max_new_tokens
    room = positions - longest
    long: dict[str, int] = {}
    for number, question in enumerate(questions):
        tokens = len(prompt_ids(processor, question, words(questions, number, question, how.preset), how))
        if tokens > room:
            long[question.record] = max(tokens, long.get(question.record, 0))
    if long:
        raise DataError(
            f"the questions of {len(long)} records are too long: {some(list(long))}; with evaluate.max_new_tokens "
            f"{longest} the longest needs {max(long.values()) + longest} of the model's {positions} "
            "positions (model.text.max_position_embeddings); lower the one, or ask in fewer words"
        )


def _digest(questions: Questions, listed: list[Question], how: Asking) -> str:
    """Of the words in which a block is asked, its choices and images."""
    told = []
    for number, question in enumerate(listed):
        choices = questions.ask(number).benchmark.choices(question.annotation)
        earlier = [(turn.question, turn.answer) for turn in question.earlier]
        asked = words(questions, number, question, how.preset)
        told.append([question.image.hex(), question.task, asked, earlier, choices])
    return sha256(canonical(told).encode()).hexdigest()
