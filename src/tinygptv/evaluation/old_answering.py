"""Letting a model answer the benchmarks' questions, from the pixels on.

Shapes: N images, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinygptv.data.prompts import turn_text
from tinygptv.data.tasks import instruction
from tinygptv.ground.errors import DataError
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Evaluate, Prompt
    from tinygptv.data.samples import Samples
    from tinygptv.evaluation.questions import Question
    from tinygptv.model.inference import Generated, VisionLanguageModel
    from tinygptv.model.processing import TinyGPTVProcessor

HELD_IMAGES = 1024
"""Images whose Q-Former outputs are in memory together: 100 MB of the full-size model's."""

Name = tuple[str, str]
"""Data set and key of a sample."""


class ImageFeatures:
    """Q-Former outputs [Q, D] of test images, encoded when they are asked for and held while there is room.

    Images are decoded, made small and encoded in batches of one size, the last of them filled up, so that neither what
    is asked beside an image nor what is held changes a bit of its outputs.
    """

    def __init__(self, samples: Samples, batch_size: int) -> None:
        """Of the images of ``samples``, so many in a forward pass."""
        self._samples, self._batch_size = samples, batch_size
        self._held: dict[Name, torch.Tensor] = {}

    def take(self, model: VisionLanguageModel, names: Iterable[Name]) -> Mapping[Name, torch.Tensor]:
        """Outputs of at least these images; models that come one after the other share the image encoder.

        Raises:
            DataError: an image is damaged.
        """
        wanted = dict.fromkeys(names)
        missing = [name for name in wanted if name not in self._held]
        if len(self._held) + len(missing) > HELD_IMAGES:
            self._held = {name: query_QD for name, query_QD in self._held.items() if name in wanted}
        for start in range(0, len(missing), self._batch_size):
            batch = missing[start : start + self._batch_size]
            pictures = [model.picture(self._samples.read(*name).image_bytes) for name in batch]
            features_NQD = model.encode_images(pictures, self._batch_size, filled=True)
            self._held |= {name: query_QD.clone() for name, query_QD in zip(batch, features_NQD, strict=True)}
        return self._held


def ask(
    model: VisionLanguageModel,
    features: ImageFeatures,
    questions: Sequence[Question],
    prompts: Mapping[str, Prompt],
    settings: Evaluate,
    batch_size: int,
    max_answer_tokens: int | None = None,
    on_answers: Callable[[int], None] | None = None,
) -> list[Generated]:
    """Answers to questions, greedy.

    Args:
        model: the model.
        features: of the questions' images.
        questions: what to ask.
        prompts: task to the form of its prompt.
        settings: `evaluate` of the configuration.
        batch_size: questions of a forward pass.
        max_answer_tokens: of the stage: how far the earlier answers of a conversation were cut; None: they were not.
        on_answers: called with the count of answers so far.
    """

    def ids(question: Question) -> list[int]:
        return prompt_ids(model.processor, question, prompts[question.task], max_answer_tokens)

    return _generate(model, features, questions, ids, batch_size, settings.max_new_tokens, on_answers)


def ask_in_own_words(
    model: VisionLanguageModel,
    features: ImageFeatures,
    questions: Sequence[Question],
    batch_size: int,
    max_answer_tokens: int | None,
    on_answers: Callable[[int], None] | None = None,
) -> list[Generated]:
    """Answers of a model in its own prompt form and as long as it gives them, else as ``ask``."""

    def ids(question: Question) -> list[int]:
        return model.prompt_ids(
            instruction(question.task, question.content),
            [(instruction(question.task, turn.question), turn.answer) for turn in question.earlier],
            max_answer_tokens=max_answer_tokens,
        )

    return _generate(model, features, questions, ids, batch_size, None, on_answers)


def _generate(
    model: VisionLanguageModel,
    features: ImageFeatures,
    questions: Sequence[Question],
    ids: Callable[[Question], list[int]],
    batch_size: int,
    max_new_tokens: int | None,
    on_answers: Callable[[int], None] | None,
) -> list[Generated]:
    """Answers, batch by batch: the batches are those of all questions in their order, however few are held at once."""
    import torch

    answers: list[Generated] = []
    for batches in _held_together([questions[i : i + batch_size] for i in range(0, len(questions), batch_size)]):
        held = features.take(model, (image_of(question) for batch in batches for question in batch))
        for batch in batches:
            features_NQD = torch.stack([held[image_of(question)] for question in batch])
            prompts = [ids(question) for question in batch]
            answers += model.generate(features_NQD, prompts, batch_size=batch_size, max_new_tokens=max_new_tokens)
            if on_answers is not None:
                on_answers(len(answers))
    return answers


def image_of(question: Question) -> Name:
    """What is asked about."""
    return question.dataset, question.key


def _held_together(batches: Iterable[Sequence[Question]]) -> Iterator[list[Sequence[Question]]]:
    """Batches in a row, as many as ask about no more images than are held; one at least."""
    group: list[Sequence[Question]] = []
    names: set[Name] = set()
    for batch in batches:
        more = names | {image_of(question) for question in batch}
        if group and len(more) > HELD_IMAGES:
            yield group
            group, more = [], {image_of(question) for question in batch}
        group.append(batch)
        names = more
    if group:
        yield group


def prompt_ids(
    processor: TinyGPTVProcessor, question: Question, prompt: Prompt, max_answer_tokens: int | None
) -> list[int]:
    """Token ids of a question, those of its conversation before it: as training builds them, with its true answers."""
    asked = [instruction(question.task, turn.question) for turn in question.earlier]
    texts = [turn_text(prompt, text, first=i == 0) for i, text in enumerate(asked)]
    return processor.encode_prompt(
        turn_text(prompt, instruction(question.task, question.content), first=not texts),
        [(text, turn.answer) for text, turn in zip(texts, question.earlier, strict=True)],
        end_mark=prompt.end_mark,
        max_answer_tokens=max_answer_tokens,
    )


def check_room(
    processor: TinyGPTVProcessor,
    questions: Sequence[Question],
    prompts: Mapping[str, Prompt],
    max_answer_tokens: int,
    positions: int,
    max_new_tokens: int,
) -> None:
    """Find the questions that are too long before any is asked.

    Raises:
        DataError: names their records.
    """
    room = positions - max_new_tokens
    around = {task: len(turn_text(p, instruction(task, ""), first=True).encode()) for task, p in prompts.items()}
    long: dict[str, int] = {}
    for q in questions:
        # A byte-level tokenizer makes at most one token of a byte.
        texts = [q.content, *(text for turn in q.earlier for text in (turn.question, turn.answer))]
        most = sum(len(text.encode()) for text in texts) + (len(q.earlier) + 1) * (around[q.task] + 1)
        if most + processor.num_query_tokens > room:
            tokens = len(prompt_ids(processor, q, prompts[q.task], max_answer_tokens))
            if tokens > room:
                long[q.record] = max(tokens, long.get(q.record, 0))
    if long:
        raise DataError(
            f"the questions of {len(long)} records are too long: {some(list(long))}; with evaluate.max_new_tokens "
            f"{max_new_tokens} the longest needs {max(long.values()) + max_new_tokens} of the model's {positions} "
            "positions (model.text.max_position_embeddings); lower the one, or ask in fewer words"
        )


def predictions(questions: Sequence[Question], said: Sequence[Generated]) -> list[dict[str, Any]]:
    """Questions with their answers, for the files that later steps and people read."""
    return [
        {
            "record": q.record,
            "image": q.key,
            "task": q.task,
            "question": q.content,
            "truth": q.truth,
            "answer": answer.text,
            "cut": answer.cut,
        }
        for q, answer in zip(questions, said, strict=True)
    ]
