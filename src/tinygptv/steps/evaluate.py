"""The step ``evaluate``: the last stage on the full test set, every stage on the held-out slice, and the pictures.

Everything goes through the pixels. The test set is asked once in each preset, of the finished model; of a data set
that is only asked, some of its questions are asked of every stage, for it has none that are held out. Nothing is chosen
by them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from tinygptv.ground import runtime
from tinygptv.ground.file_names import (
    ANSWERS,
    CUTS,
    ENVIRONMENT,
    EVALUATION,
    FULL_PRECISION,
    HISTORY,
    LOSS,
    PREDICTIONS,
    PROGRESS,
    SUBMISSIONS,
    WORST,
    view_of,
)
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.folders import answers_folder
from tinygptv.ground.names import LAST_STAGE, STAGES, START

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tinygptv.evaluation.answering import Encoded
    from tinygptv.evaluation.asking import Speed
    from tinygptv.evaluation.benchmarks.table import Ask
    from tinygptv.evaluation.gallery import Gallery
    from tinygptv.evaluation.questions import Questions
    from tinygptv.evaluation.scores import Figures
    from tinygptv.evaluation.subjects import Subject
    from tinygptv.evaluation.verdict import LastTraining
    from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Evaluate all stages.

    Raises:
        UserError: an input is missing or does not fit, or a data set has not the questions that it should.
    """
    from tinygptv.evaluation import coverage, scores
    from tinygptv.evaluation.answer_store import AnswerStore
    from tinygptv.evaluation.baselines import read_baselines
    from tinygptv.evaluation.benchmarks.table import asks_of
    from tinygptv.evaluation.gallery import Gallery
    from tinygptv.evaluation.measuring import judged
    from tinygptv.evaluation.predictions import kept, submitted
    from tinygptv.evaluation.sittings import QuestionList, Sitting, answer_ahead
    from tinygptv.evaluation.verdict import verdict

    config, settings, shards = context.config, context.config.evaluate, context.input("shards", view_of("evaluate"))
    runtime.prepare(config.runtime, context.seed)
    asks = asks_of(config)
    whole = QuestionList(config=config, shards=shards, split="test")
    part = replace(whole, split="val", instead="test", limit=settings.held_out_questions)
    test, slice_ = whole.open(), part.open()
    coverage.check_counts(shards, asks, test.counts())
    on_slice, on_test = read_baselines(shards, asks, slice_, test)
    for where, split, asked, baselines in (
        ("held-out slice", "val", slice_, on_slice),
        ("test set", "test", test, on_test),
    ):
        unnamed = coverage.not_named(shards, asks, split)
        for line in coverage.left_out(where, asks, asked.counts(), baselines, unnamed):
            print(line)
    check_room(context, slice_, test)

    gallery = Gallery(asks, test.counts(), settings.grid_images)
    preset, *others = settings.presets
    encoded: Encoded = OrderedDict()  # the image encoder is that of the backbones in every stage
    with (
        AnswerStore.opened(answers_folder(context.root, context.profile.name), context.step, config.runtime) as store,
        kept(context.out / PREDICTIONS) as keep,
        submitted(context.out / SUBMISSIONS, asks) as submit,
    ):
        subjects = {stage: subject_of(context, stage) for stage in (START, *STAGES)}
        sittings = [Sitting(model, preset, part) for model in subjects.values()]
        sittings += [Sitting(subjects[LAST_STAGE], how, whole) for how in settings.presets]
        opened = [slice_] * len(subjects) + [test] * len(settings.presets)
        speed: Speed = answer_ahead(sittings, opened, store, config, context.seed, context.step)

        def on_the_slice(stage: str, model: Subject) -> dict[str, Figures]:
            found = judged(model, slice_, on_slice, preset, store, encoded=encoded)["benchmarks"]
            tell(context, f"{stage}, held-out slice", found, f"{stage}.")
            return found

        held_out = {stage: on_the_slice(stage, subjects[stage]) for stage in (START, *STAGES[:-1])}
        with subjects[LAST_STAGE].kept_open() as last:
            held_out[LAST_STAGE] = on_the_slice(LAST_STAGE, last)
            keeps = (keep, submit, gallery)
            report = judged(last, test, on_test, preset, store, keeps=keeps, shown="test set", speed=speed)
            if speed.questions:
                context.run.metrics({"questions_per_second": speed.questions / speed.seconds})
            tell(context, "test set", report["benchmarks"])
            beside = {}
            for other in others:
                beside[other] = judged(last, test, on_test, other, store, shown=other)["benchmarks"]
                tell(context, f"test set, {other}", beside[other], f"{other}.")

    plainly = verdict(report["benchmarks"], last_training(context, shards))
    print(plainly)
    cuts = {stage: cuts_of(context.input(stage)) for stage in STAGES}
    told = {**report, "verdict": plainly, "presets": beside, "held_out": held_out, "cuts": cuts, "seed": context.seed}
    write_json(context.report(EVALUATION), told)
    write_json(context.report(FULL_PRECISION), scores.values(report["benchmarks"]))
    draw(context, asks, held_out, gallery, test)
    for name in (EVALUATION, LOSS, PROGRESS, ANSWERS, WORST):
        context.run.artifact(context.report(name))
    write_json(context.reports / ENVIRONMENT, runtime.environment() | {"threads": config.runtime.threads})


def check_room(context: StepContext, slice_: Questions, test: Questions) -> None:
    """Find what is too long for a stage before the first model is opened.

    Raises:
        DataError: names the records.
    """
    from tinygptv.evaluation import answering
    from tinygptv.evaluation.presets import stage_asking
    from tinygptv.evaluation.stages import processor_of

    config, settings = context.config, context.config.evaluate
    positions = config.model.text.max_position_embeddings
    for stage in STAGES:
        processor = processor_of(config, stage, context.input("backbones"))
        asked = [(settings.presets[0], slice_)]
        asked += [(preset, test) for preset in settings.presets if stage == LAST_STAGE]
        for preset, questions in asked:
            how = stage_asking(config, stage, preset)
            count = answering.check_room(processor, questions, how, positions, settings.max_new_tokens)
            if count:
                print(f"{stage}, {preset}: {count:,} questions are asked without the beginning of their conversation")


def last_training(context: StepContext, shards: Path) -> LastTraining | None:
    """What the last stage that trained left behind; None where none did."""
    from tinygptv.config import parse_entry
    from tinygptv.data.summary import read_summary, sets
    from tinygptv.evaluation.verdict import LastTraining
    from tinygptv.planning.compute import mean_batch

    trained = [stage for stage in STAGES if context.config.stage(stage).steps]
    if not trained:
        return None
    folder, used = context.input(trained[-1]), context.config.stage(trained[-1]).mixture
    names, folders = {parse_entry(entry).dataset for entry in used}, sets(shards)
    counted = [read_summary(folders[name])["splits"] for name in sorted(names) if name in folders]
    records = sum(splits["train"]["records"] for splits in counted if "train" in splits)
    history = read_json(folder / HISTORY)
    drawn = history[-1]["step"] * mean_batch(context.config.stage(trained[-1])) if history else 0.0
    return LastTraining(
        stage=trained[-1],
        history=history,
        cuts=cuts_of(folder),
        records=records,
        passes=drawn / max(1, records),
    )


def cuts_of(stage: Path) -> dict[str, dict[str, int]]:
    """What a stage's training counted as cut, by data set; an imported checkpoint has none."""
    return read_json(stage / CUTS) if (stage / CUTS).is_file() else {}


def subject_of(context: StepContext, stage: str) -> Subject:
    """The model of a stage, or that which stage 1 begins with."""
    from tinygptv.evaluation.subjects import stage_subject, start_subject

    backbones = context.input("backbones")
    if stage == START:
        return start_subject(context.config, context.seed, backbones)
    return stage_subject(context.config, stage, backbones, context.input(stage))


def tell(context: StepContext, where: str, found: Mapping[str, Figures], prefix: str = "") -> None:
    """Benchmarks on the terminal and in the step's run."""
    from tinygptv.evaluation import scores

    context.run.metrics(scores.for_run(found, prefix))
    if found:
        print(f"{where}: {scores.line(found)}")


def draw(
    context: StepContext,
    asks: Sequence[Ask],
    held_out: Mapping[str, Mapping[str, Figures]],
    gallery: Gallery,
    test: Questions,
) -> None:
    """The pictures; DVC misses one that is not there."""
    from tinygptv.evaluation import answer_pictures, report
    from tinygptv.evaluation.benchmarks.table import labels

    histories = {stage: read_json(context.input(stage) / HISTORY) for stage in STAGES}
    report.loss_curves(histories, context.report(LOSS))
    report.stage_progress(held_out, labels(asks), context.report(PROGRESS))
    for items, name, nothing in (
        (gallery.spread(test.image_file), ANSWERS, "no question in the test set"),
        (gallery.worst(test.image_file), WORST, "no wrong answer in the test set"),
    ):
        if items:
            answer_pictures.answer_grid(items, context.report(name))
        else:
            report.empty_picture(nothing, context.report(name))
