"""Asking a model many questions, block by block: what is stored is not asked again, and little is in memory.

Blocks are those of all questions in their order. A block is answered as a whole, so that neither a kill nor what is
stored changes an answer; the model is opened when a block is missing, and let go after the last.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from tinygptv.evaluation.answering import BlockAnswerer
from tinygptv.ground import runtime
from tinygptv.ground.files import canonical
from tinygptv.ground.progress import Progress

if TYPE_CHECKING:
    from tinygptv.evaluation.answer_store import AnswerList, AnswerStore
    from tinygptv.evaluation.answering import Encoded
    from tinygptv.evaluation.presets import Asking
    from tinygptv.evaluation.questions import Question, Questions
    from tinygptv.model.answerer import Response
    from tinygptv.model.inference import VisionLanguageModel

BLOCK = 256
"""Questions that are answered, and stored, together."""
AHEAD = 8
"""Blocks at most that are read before the one that is answered, so that images fill whole passes."""

OpenModel = Callable[[], "VisionLanguageModel"]


@dataclass(slots=True)
class Speed:
    """How fast answers came that were not stored."""

    questions: int = 0
    tokens: int = 0
    """Generated, end marks included."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AskedBlock:
    """Questions in memory."""

    number: int
    questions: Questions
    listed: list[Question]
    asked: str
    """Digest of what they say."""
    stored: list[Response] | None


def ask(
    open_model: OpenModel,
    model: str,
    questions: Questions,
    how: Asking,
    store: AnswerStore | None,
    shown: str = "",
    speed: Speed | None = None,
    encoded: Encoded | None = None,
) -> Iterator[tuple[Question, Response]]:
    """Questions in their order, each with the model's answer; a few blocks of them are in memory.

    Args:
        open_model: opens the model; called once at most, and not at all where all answers are stored.
        model: digest of all that makes it.
        questions: what is asked.
        how: how it is asked.
        store: where answers are kept; None: nowhere.
        shown: what the progress is shown as; nothing is shown without.
        speed: counts what is not stored.
        encoded: of other models with the same image encoder, whose images need not be encoded again.

    Raises:
        DataError: a question is too long for the model (before one is asked), or a record or an image is damaged.
        NotFiniteError: the model computes infinities or NaN.
    """
    kept = None if store is None else kept_answers(store, model, questions, how)
    speed, encoded = Speed() if speed is None else speed, OrderedDict() if encoded is None else encoded
    try:
        yield from _ask(open_model, read_blocks(questions, how, kept), questions, how, kept, shown, speed, encoded)
    finally:
        runtime.free_memory()  # of the model, which nothing holds any more


def kept_answers(store: AnswerStore, model: str, questions: Questions, how: Asking) -> AnswerList:
    """Where the answers to such an ``ask`` are kept."""
    return store.answers(model, questions.digest, how.to_json(), BLOCK)


def answer_blocks(
    open_model: OpenModel,
    questions: Questions,
    how: Asking,
    kept: AnswerList,
    numbers: range,
    encoded: Encoded,
) -> Speed:
    """Answer some of the blocks of an ``ask`` and keep the answers; those that are kept already are left.

    Args:
        open_model: opens the model.
        questions: all that is asked.
        how: how it is asked.
        kept: of ``kept_answers``.
        numbers: of the blocks.
        encoded: as of ``ask``.

    Returns:
        How fast those came that were not kept.
    """
    speed, blocks = Speed(), read_blocks(questions, how, kept, numbers)
    part = questions[numbers.start * kept.size : numbers.stop * kept.size]
    for _ in _ask(open_model, blocks, part, how, kept, "", speed, encoded):
        pass
    return speed


def _ask(
    open_model: OpenModel,
    blocks: Iterator[AskedBlock],
    questions: Questions,
    how: Asking,
    kept: AnswerList | None,
    shown: str,
    speed: Speed,
    encoded: Encoded,
) -> Iterator[tuple[Question, Response]]:
    ahead = deque[AskedBlock]()
    answerer: BlockAnswerer | None = None
    progress: Progress | None = None
    done = 0
    with ExitStack() as stack:
        while True:
            while len(ahead) < (1 if answerer is None else AHEAD):
                if answerer is not None and answerer.waiting >= how.batch_size + BLOCK:
                    break  # enough for whole passes, also after those that the next block needs
                if (block := next(blocks, None)) is None:
                    break
                if block.stored is None:
                    if answerer is None:
                        answerer = stack.enter_context(BlockAnswerer(open_model(), how, encoded))
                        answerer.check_room(questions)
                    answerer.announce(block.questions, block.listed)
                ahead.append(block)
            if not ahead:
                return
            block = ahead.popleft()
            answers = block.stored
            if answers is None:
                assert answerer is not None
                if progress is None and shown:
                    progress = stack.enter_context(Progress(shown, len(questions), done, "question"))
                began = time.monotonic()
                answers = answerer.answer(block.questions, block.listed)
                speed.seconds += time.monotonic() - began
                speed.questions += len(answers)
                speed.tokens += sum(answer.tokens + (not answer.cut) for answer in answers)
                if kept is not None:
                    kept.write(block.number, block.asked, answers)
            done += len(block.listed)
            if progress is not None:
                progress.update(done)
            yield from zip(block.listed, answers, strict=True)


def read_blocks(
    questions: Questions, how: Asking, kept: AnswerList | None, numbers: range | None = None
) -> Iterator[AskedBlock]:
    """Blocks of questions, each with the answers that are kept.

    Args:
        questions: all that is asked.
        how: how it is asked.
        kept: of ``kept_answers``; None: nothing is.
        numbers: of the blocks; None: all.
    """
    size = BLOCK if kept is None else kept.size
    for number in range(-(-len(questions) // size)) if numbers is None else numbers:
        part = questions[number * size : (number + 1) * size]
        listed = list(part)
        told = [
            (
                question.image.hex(),
                question.task,
                part.words(place, question, how.preset),
                [(turn.question, turn.answer) for turn in question.earlier],
                part.choices(place, question),
            )
            for place, question in enumerate(listed)
        ]
        asked = sha256(canonical(told).encode()).hexdigest()
        stored = None if kept is None else kept.read(number, asked)
        yield AskedBlock(number, part, listed, asked, stored if stored is None or len(stored) == len(listed) else None)


@contextmanager
def kept_open(open_model: OpenModel) -> Iterator[OpenModel]:
    """For several calls of ``ask`` with one model: it is opened once, when it is needed, and let go after the block."""
    opened: list[VisionLanguageModel] = []

    def once() -> VisionLanguageModel:
        if not opened:
            opened.append(open_model())
        return opened[0]

    try:
        yield once
    finally:
        opened.clear()
        runtime.free_memory()
