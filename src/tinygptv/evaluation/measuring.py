"""A model's answers judged, and any model before the test questions of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.asking import ask
from tinygptv.evaluation.baselines import read_baselines
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.coverage import check_counts
from tinygptv.evaluation.questions import open_questions
from tinygptv.evaluation.scores import Judge
from tinygptv.ground.errors import DataError, UserError, meant
from tinygptv.ground.file_names import view_of
from tinygptv.ground.folders import answers_folder, data_folder
from tinygptv.ground.worktree import how_to_make

if TYPE_CHECKING:
    from tinygptv.config import Preset
    from tinygptv.config.profiles import Profile
    from tinygptv.evaluation.answer_store import AnswerStore
    from tinygptv.evaluation.answering import Encoded
    from tinygptv.evaluation.asking import Speed
    from tinygptv.evaluation.baselines import Baselines
    from tinygptv.evaluation.benchmarks.table import Ask
    from tinygptv.evaluation.predictions import Keep
    from tinygptv.evaluation.questions import Questions
    from tinygptv.evaluation.scores import Figures
    from tinygptv.evaluation.subjects import Subject

ASKER = "tinygptv evaluate"
"""By which the store knows who used answers last."""


def judged(
    subject: Subject,
    questions: Questions,
    baselines: Mapping[str, Baselines],
    preset: Preset,
    store: AnswerStore | None,
    *,
    keeps: Sequence[Keep] = (),
    shown: str = "",
    speed: Speed | None = None,
    encoded: Encoded | None = None,
) -> dict[str, dict[str, Figures]]:
    """What a model reaches, as a report has it: ``benchmarks`` and ``by_type``.

    Args:
        subject: the model.
        questions: what is asked.
        baselines: benchmark → answers that need no image.
        preset: how it is asked.
        store: where answers are kept.
        keeps: who gets every question with its answer, too, in their order.
        shown: what the progress is shown as; nothing is shown without.
        speed: counts what was not stored.
        encoded: images that models with the same image encoder have seen.
    """
    judge, how = Judge(questions.asks, baselines, preset), subject.how(preset)
    for question, response in ask(subject.open, subject.identity, questions, how, store, shown, speed, encoded):
        for keep in (judge.add, *keeps):
            keep(question, response)
    return judge.result()


def questions_asked(root: Path, profile: Profile, names: Sequence[str]) -> Questions:
    """The test questions of a profile.

    Args:
        root: the checkout.
        profile: the profile.
        names: benchmarks; none: all of the profile.

    Raises:
        UserError: a benchmark is not known, the profile has no shards yet, or a data set has not the questions that it
            should.
    """
    asks, shards = chosen(asks_of(profile.config), names), data_folder(root, profile.name) / "shards"
    if not (shards / view_of("evaluate")).is_file():
        raise DataError(f"{shards} is missing; run {how_to_make(root, profile.name, 'shards')}")
    questions = open_questions(shards, "test", asks)
    check_counts(shards, asks, questions.counts())
    return questions


def measure(
    root: Path, profile: Profile, subject: Subject, questions: Questions, presets: Sequence[Preset], asker: str = ASKER
) -> dict[str, Any]:
    """What a model reaches on test questions; answers that the steps have kept are used.

    Args:
        root: the checkout.
        profile: the profile.
        subject: the model.
        questions: of ``questions_asked``.
        presets: how they are put; none: as the profile says.
        asker: by which the store knows whose answers these are.

    Returns:
        As in a report: ``benchmarks`` and ``by_type`` of the first preset, ``presets`` for the others.

    Raises:
        UserError: the model or a shard is damaged, or a question is too long for it.
    """
    from tinygptv.evaluation.answer_store import AnswerStore
    from tinygptv.evaluation.sittings import QuestionList, Sitting, answer_ahead
    from tinygptv.ground import runtime

    config, shards = profile.config, data_folder(root, profile.name) / "shards"
    runtime.prepare(config.runtime, profile.seed)
    _, baselines = read_baselines(shards, questions.asks, questions[:0], questions)
    with (
        AnswerStore.opened(answers_folder(root, profile.name), asker, config.runtime) as store,
        subject.kept_open() as model,
    ):
        first, *others = presets or config.evaluate.presets
        meant = QuestionList(
            config=config, shards=shards, split="test", names=tuple(ask.name for ask in questions.asks)
        )
        sittings = [Sitting(subject, preset, meant) for preset in (first, *others)]
        answer_ahead(sittings, [questions] * len(sittings), store, config, profile.seed, asker)
        report = judged(model, questions, baselines, first, store, shown=first)
        beside = {
            preset: judged(model, questions, baselines, preset, store, shown=preset)["benchmarks"] for preset in others
        }
    return {**report, "presets": beside}


def chosen(asks: Sequence[Ask], names: Sequence[str]) -> tuple[Ask, ...]:
    """The benchmarks of these names, or all.

    Raises:
        UserError: the profile asks nothing by a name.
    """
    known = [ask.name for ask in asks]
    for name in names:
        if name not in known:
            raise UserError(f"the profile has no benchmark {name!r}; it has {', '.join(known)}{meant(name, known)}")
    return tuple(ask for ask in asks if not names or ask.name in names)
