"""Models before questions, their answers given ahead by processes side by side.

What follows reads the answers from the store, in the order of the questions, as if one process had asked: a block of
answers is a function of the model, the questions and how they are asked. A process that is killed costs its blocks
that are not finished.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.data.pool import map_blocks
from tinygptv.evaluation.asking import AHEAD, Speed, answer_blocks, kept_answers, read_blocks
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.questions import evenly_spaced, open_questions
from tinygptv.ground import runtime
from tinygptv.ground.crew import crew_here
from tinygptv.ground.progress import Progress

if TYPE_CHECKING:
    from tinygptv.config import Config, Preset
    from tinygptv.evaluation.answer_store import AnswerList, AnswerStore
    from tinygptv.evaluation.answering import Encoded
    from tinygptv.evaluation.asking import OpenModel
    from tinygptv.evaluation.questions import Questions
    from tinygptv.evaluation.subjects import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionList:
    """Which questions of a profile are meant; every process opens them for itself."""

    config: Config
    shards: Path
    split: str
    instead: str | None = None
    """As of ``open_questions``."""
    limit: int | None = None
    """As of ``evenly_spaced``; None: all."""
    names: tuple[str, ...] | None = None
    """Those of these benchmarks; None: all."""

    def open(self) -> Questions:
        """The questions; errors as of ``open_questions``."""
        asks = [ask for ask in asks_of(self.config) if self.names is None or ask.name in self.names]
        questions = open_questions(self.shards, self.split, asks, self.instead)
        return questions if self.limit is None else evenly_spaced(questions, self.limit)


@dataclass(frozen=True, slots=True)
class Sitting:
    """A model before questions."""

    subject: Subject
    preset: Preset
    questions: QuestionList


@dataclass(frozen=True, slots=True)
class AskJob:
    """What a process is given: blocks that follow one another, so that their images fill whole passes."""

    sitting: int
    kept: AnswerList
    blocks: range


@dataclass(slots=True)
class Given(Speed):
    """What became of a job, or of all."""

    peak_rss_mib: float = 0.0
    """Of the process that needed the most memory."""


def answer_ahead(
    sittings: Sequence[Sitting], opened: Sequence[Questions], store: AnswerStore, config: Config, seed: int, shown: str
) -> Given:
    """Let the machine's processes give the answers that are not kept; nothing is done where there is but this one.

    Args:
        sittings: who is asked what. All models have one image encoder.
        opened: the questions of each.
        store: where answers are kept.
        config: the profile.
        seed: the pipeline's; no answer depends on it.
        shown: what the progress is shown as.

    Returns:
        How fast answers came, in seconds of this process.

    Raises:
        UserError: as of ``ask``, and of ``map_blocks``.
    """
    crew, given = crew_here(device=runtime.resolve_device(config.runtime.device).type), Given()
    if not crew.beside:
        return given
    began, total = time.monotonic(), sum(map(len, opened))
    work = partial(prepare, config, seed, tuple(sittings))
    with Progress(shown, total, unit="question") as progress:
        for done in map_blocks(work, _jobs(sittings, opened, store, max(1, crew.size)), crew):
            given.questions, given.tokens = given.questions + done.questions, given.tokens + done.tokens
            given.peak_rss_mib = max(given.peak_rss_mib, done.peak_rss_mib)
            progress.update(given.questions)
    given.seconds = time.monotonic() - began
    return given


def _jobs(
    sittings: Sequence[Sitting], opened: Sequence[Questions], store: AnswerStore, processes: int
) -> Iterator[AskJob]:
    """What is not kept, in the order of the sittings, so that a process opens each model once."""
    for number, (sitting, questions) in enumerate(zip(sittings, opened, strict=True)):
        how = sitting.subject.how(sitting.preset)
        kept = kept_answers(store, sitting.subject.identity, questions, how)
        missing = (block.number for block in read_blocks(questions, how, kept) if block.stored is None)
        each = len(questions) // (2 * processes * kept.size)
        for blocks in runs(missing, max(1, min(AHEAD, each))):
            yield AskJob(number, kept, blocks)


def runs(numbers: Iterable[int], most: int) -> Iterator[range]:
    """Ascending numbers as ranges of neighbours, at most so many in each."""
    run = range(0)
    for number in numbers:
        if run and (number != run.stop or len(run) == most):
            yield run
            run = range(0)
        run = range(run.start if run else number, number + 1)
    if run:
        yield run


def prepare(config: Config, seed: int, sittings: Sequence[Sitting]) -> Callable[[AskJob], Given]:
    """What a process answers with."""
    runtime.prepare(config.runtime, seed)
    return _Desk(sittings).answer


@dataclass
class _Desk:
    """What a process has open: questions, the model that was asked last, and images that its encoder has seen."""

    sittings: Sequence[Sitting]
    encoded: Encoded = field(default_factory=OrderedDict)
    held: ExitStack = field(default_factory=ExitStack)
    model: tuple[str, OpenModel] | None = None
    questions: tuple[QuestionList, Questions] | None = None

    def answer(self, job: AskJob) -> Given:
        """Answer a job's blocks and keep the answers."""
        import resource

        sitting = self.sittings[job.sitting]
        how = sitting.subject.how(sitting.preset)
        if self.questions is None or self.questions[0] != sitting.questions:
            self.questions = sitting.questions, sitting.questions.open()
        if self.model is None or self.model[0] != sitting.subject.identity:
            self.held.close()
            self.model = sitting.subject.identity, self.held.enter_context(sitting.subject.kept_open()).open
        speed = answer_blocks(self.model[1], self.questions[1], how, job.kept, job.blocks, self.encoded)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return Given(speed.questions, speed.tokens, speed.seconds, peak)
