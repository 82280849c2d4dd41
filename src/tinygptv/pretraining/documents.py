"""Texts for the stand-in language model and its tokenizer, made from training records.

A document is a conversation in which a description stands where the image would: reading comprehension, without which
the language model does not learn to answer from visual tokens (docs/recipe.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tinygptv.data import prompts
from tinygptv.data.records import Box, ImageRecord, Record, format_box
from tinygptv.data.tasks import TEMPLATES, instruction

if TYPE_CHECKING:
    from tinygptv.config import Prompt

END_OF_TEXT = "<|endoftext|>"
WORDS = r"<\d{1,3}>|</?[A-Za-z]+>|###|\[\w+\]| ?\p{L}+| ?\p{N}|[^\s\p{L}\p{N}<\[#]+|\s|."
"""Pieces that byte-pair merges stay within: a coordinate, a tag, the end mark, a task mark, a word, a digit."""


@dataclass(frozen=True, slots=True)
class Document:
    """Text that is given and text that is to be learned in full."""

    given: str
    learned: str


@dataclass(frozen=True, slots=True)
class Described:
    """An image in words, with what is asked about it."""

    caption: str
    box: Box
    records: dict[str, tuple[Record, ...]]
    """Task to records."""

    @property
    def text(self) -> str:
        """What stands in the image's place."""
        return f"{self.caption} {format_box(self.box)}"


def describe(images: Iterable[ImageRecord]) -> list[Described]:
    """Images whose records give a caption and one box."""
    described = []
    for image in images:
        by_task: dict[str, list[Record]] = {}
        for record in image.records:
            by_task.setdefault(record.task, []).append(record)
        if "caption" in by_task and len(by_task.get("grounding", [])) == 1:
            caption, box = by_task["caption"][0].turns[0].answer, by_task["grounding"][0].boxes[0]
            described.append(Described(caption, box, {task: tuple(found) for task, found in by_task.items()}))
    return described


def documents(
    images: Sequence[Described], mixture: dict[str, float], prompt: Prompt, end_mark_of_captions: str, seed: int
) -> Iterator[Document]:
    """Documents without end, drawn with the seed.

    Args:
        images: described training images.
        mixture: task to weight; ``plain`` is description and caption without a prompt, as in stages 1 and 2.
        prompt: the conversation's form.
        end_mark_of_captions: ends a plain caption.
        seed: of every draw.
    """
    rng = np.random.default_rng(seed)
    tasks, weights = list(mixture), np.array(list(mixture.values()))
    while True:
        image = images[rng.integers(len(images))]
        task = tasks[rng.choice(len(tasks), p=weights / weights.sum())]
        moved = move(image.box, rng)
        if task == "plain":
            given, learned = f"{image.caption} {format_box(moved)}", image.caption + end_mark_of_captions
        else:
            records = image.records[task]
            turn = records[rng.integers(len(records))].turns[0]
            asked = instruction(task, turn.question, int(rng.integers(len(TEMPLATES[task]))))
            given = prompts.prompt_text(prompt, asked).replace(prompts.IMAGE_MARK, image.text)
            learned = turn.answer + prompt.end_mark
            old, new = format_box(image.box), format_box(moved)
            given, learned = given.replace(old, new), learned.replace(old, new)
        yield Document(given, learned)


def move(box: Box, rng: np.random.Generator) -> Box:
    """The box at a random place and of a slightly other size, as the text's counterpart of moving the image."""
    left, top, right, bottom = box
    width = int(np.clip(right - left + rng.integers(-5, 6), 1, 100))
    height = int(np.clip(bottom - top + rng.integers(-5, 6), 1, 100))
    new_left, new_top = int(rng.integers(0, 101 - width)), int(rng.integers(0, 101 - height))
    return new_left, new_top, new_left + width, new_top + height


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer: any text can be written, coordinates ``<0>`` to ``<100>`` are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    coordinates = [f"<{mark}>" for mark in range(101)]
    tokenizer.train_from_iterator([*texts, *coordinates * COORDINATE_REPEATS], trainer)
    return tokenizer


COORDINATE_REPEATS = 400
"""Each coordinate's count in the tokenizer's text, so that rare ones become single tokens as well."""
