"""Texts for the stand-in language model and its tokenizer, made from training records.

A document is a conversation in which a description stands where the image would. Reading comes first: short texts that
ask whether a word is in the description, and real questions. Without it a small model answers yes or no by what is
frequent and never looks (docs/recipe.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tinygptv.data import prompts
from tinygptv.data.boxes import Box, format_box
from tinygptv.data.marks import BOS_MARK, IMAGE_MARK
from tinygptv.data.record_rules import BOX_TASKS
from tinygptv.data.records import ImageRecord, Record
from tinygptv.data.tasks import TEMPLATES, instruction
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tinygptv.config import Prompt, TextPretraining

PIECES = r"<\d{1,3}>|</?[A-Za-z]+>|\[\w+\]| ?\p{L}+| ?\p{N}|[^\s\p{L}\p{N}<\[#]+|\s|."
"""What byte-pair merges stay within: a coordinate, a tag, a task mark, a word, a digit."""
COORDINATE_REPEATS = 400
"""Each coordinate's count in the tokenizer's text, so that rare ones become single tokens as well."""

Document = list[tuple[str, bool]]
"""Texts in a row, each with whether it is to be learned in full."""


@dataclass(frozen=True, slots=True)
class Described:
    """An image in words, with what is asked about it."""

    caption: str
    box: Box
    records: dict[str, tuple[Record, ...]]
    """Task to records."""


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


class Documents:
    """Draws documents without end: reading first, then the mixture of tasks."""

    def __init__(self, images: Sequence[Described], settings: TextPretraining, seed: int) -> None:
        """Prepare to draw.

        Args:
            images: described training images.
            settings: `backbones.text` of the configuration.
            seed: of every draw.

        Raises:
            DataError: no image has a record of a task that is drawn.
        """
        self._settings = settings
        tasks: set[str] = {*settings.mixture, *settings.reading_mixture}
        self._images = {task: [i for i in images if task in ("plain", "check") or task in i.records] for task in tasks}
        if lacking := sorted(task for task, found in self._images.items() if not found):
            raise DataError(
                f"no training image with a caption and a box has a record of {', '.join(lacking)}; take it out of "
                "backbones.text, or name other data sets in backbones.data"
            )
        self._rng = np.random.default_rng(seed)
        self._words = sorted({word for image in images for word in content_words(image.caption)})

    def batch(self, step: int) -> list[Document]:
        """The documents of a step, counted from 0; steps must be asked for in order."""
        settings = self._settings
        reading = step < settings.reading_steps
        mixture = settings.reading_mixture if reading else settings.mixture
        tasks, shares = list(mixture), np.array(list(mixture.values()))
        chosen = self._rng.choice(len(tasks), size=settings.batch_size, p=shares / shares.sum())
        return [self.draw(tasks[i], brief=reading) for i in chosen]

    def draw(self, task: str, brief: bool = False) -> Document:
        """One document.

        Args:
            task: a task; ``check``: is a word in the description; ``plain``: a description and its caption.
            brief: leave out the box where the task does not need it, and all but the first instruction template.
        """
        images = self._images[task]
        image = images[int(self._rng.integers(len(images)))]
        box = format_box(move(image.box, self._rng))
        text = image.caption if brief and task not in BOX_TASKS else f"{image.caption} {box}"
        if task == "plain":
            return [(text, False), (image.caption + self._settings.caption_end_mark, True)]
        if task == "check":
            return conversation(self._settings.prompt, text, self._checks(image.caption))
        records = image.records[task]
        turn = records[self._rng.integers(len(records))].turns[0]
        template = 0 if brief else int(self._rng.integers(len(TEMPLATES[task])))
        old = format_box(image.box)
        asked = instruction(task, turn.question, template).replace(old, box)
        return conversation(self._settings.prompt, text, [(asked, turn.answer.replace(old, box))])

    def _checks(self, caption: str) -> list[tuple[str, str]]:
        """Questions whether a word is in the caption: half of them is."""
        own = content_words(caption)
        turns = []
        for _ in range(self._settings.checks):
            words = own if self._rng.random() < 0.5 else self._words
            word = words[self._rng.integers(len(words))]
            turns.append((f"{word}?", "yes" if word in own else "no"))
        return turns


def conversation(prompt: Prompt, description: str, turns: Sequence[tuple[str, str]]) -> Document:
    """Instructions and answers in the prompt's form, the description in the place of the image."""
    document: Document = []
    for i, (asked, answer) in enumerate(turns):
        text = prompts.turn_text(prompt, asked, first=i == 0)
        document += [
            (text.replace(BOS_MARK, "").replace(IMAGE_MARK, description), False),
            (answer + prompt.end_mark, True),
        ]
    return document


def content_words(caption: str) -> list[str]:
    """Words of more than one letter."""
    return [word for word in re.findall(r"\w+", caption) if len(word) > 1]


def move(box: Box, rng: np.random.Generator) -> Box:
    """The box at a random place and of a slightly other size, as the text's counterpart of moving the image."""
    left, top, right, bottom = box
    width = int(np.clip(right - left + rng.integers(-5, 6), 1, 100))
    height = int(np.clip(bottom - top + rng.integers(-5, 6), 1, 100))
    new_left, new_top = int(rng.integers(0, 101 - width)), int(rng.integers(0, 101 - height))
    return new_left, new_top, new_left + width, new_top + height


def train_tokenizer(
    texts: Iterable[str], prompt: Prompt, vocab_size: int, end_of_text: str, begin_of_text: str | None = None
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text can be written.

    Coordinates ``<0>`` to ``<100>``, the end mark and the fixed parts of the prompt become single tokens;
    ``end_of_text`` ends and pads, and begins where no other is given.
    """
    from transformers import PreTrainedTokenizerFast

    fixed = [part for part in (*prompt.template.split("{}"), prompt.end_mark) if part]
    pieces = "|".join([*(re.escape(part) for part in sorted(fixed, key=len, reverse=True)), PIECES])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    begin = end_of_text if begin_of_text is None else begin_of_text
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(dict.fromkeys([begin, end_of_text])),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    coordinates = [f"<{mark}>" for mark in range(101)]
    tokenizer.train_from_iterator([*texts, *coordinates * COORDINATE_REPEATS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, eos_token=end_of_text, pad_token=end_of_text
    )
