"""Letting a model answer the benchmarks' questions, from the pixels on.

Shapes: N images, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinygptv.data.prompts import turn_text
from tinygptv.data.tasks import instruction
from tinygptv.ground.errors import DataError
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Evaluate, Prompt
    from tinygptv.data.records import ImageSample
    from tinygptv.evaluation.benchmarks import Question
    from tinygptv.model.inference import Generated, VisionLanguageModel
    from tinygptv.model.processing import TinyGPTVProcessor


def ask(
    model: VisionLanguageModel,
    features: Mapping[str, torch.Tensor],
    questions: Sequence[Question],
    prompts: Mapping[str, Prompt],
    settings: Evaluate,
    batch_size: int,
    max_answer_tokens: int | None = None,
) -> list[Generated]:
    """Answers to questions, greedy.

    Args:
        model: the model.
        features: image key to its Q-Former outputs [Q, D], of ``encode``.
        questions: what to ask.
        prompts: task to the form of its prompt.
        settings: `evaluate` of the configuration.
        batch_size: questions of a forward pass.
        max_answer_tokens: of the stage: how far the earlier answers of a conversation were cut; None: they were not.
    """
    ids = [prompt_ids(model.processor, q, prompts[q.task], max_answer_tokens) for q in questions]
    return _generate(model, features, questions, ids, batch_size, settings.max_new_tokens)


def ask_in_own_words(
    model: VisionLanguageModel,
    features: Mapping[str, torch.Tensor],
    questions: Sequence[Question],
    batch_size: int,
    max_answer_tokens: int | None,
) -> list[Generated]:
    """Answers of a model in its own prompt form and as long as it gives them, else as ``ask``."""
    ids = [
        model.prompt_ids(
            instruction(q.task, q.content),
            [(instruction(q.task, turn.question), turn.answer) for turn in q.earlier],
            max_answer_tokens=max_answer_tokens,
        )
        for q in questions
    ]
    return _generate(model, features, questions, ids, batch_size, None)


def _generate(
    model: VisionLanguageModel,
    features: Mapping[str, torch.Tensor],
    questions: Sequence[Question],
    ids: Sequence[list[int]],
    batch_size: int,
    max_new_tokens: int | None,
) -> list[Generated]:
    import torch

    if not questions:
        return []
    features_NQD = torch.stack([features[question.key] for question in questions])
    return model.generate(features_NQD, ids, batch_size=batch_size, max_new_tokens=max_new_tokens)


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


def encode(model: VisionLanguageModel, samples: Sequence[ImageSample], batch_size: int) -> dict[str, torch.Tensor]:
    """Q-Former outputs [Q, D] of each image, by key."""
    if not samples:
        return {}
    features_NQD = model.encode_images([sample.image for sample in samples], batch_size)
    return {sample.key: query_QD for sample, query_QD in zip(samples, features_NQD, strict=True)}


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
