"""The step ``evaluate``: the last stage on the full test set, every stage on the held-out slice, and the pictures.

Everything goes through the pixels. The test set is asked once, of the finished model; nothing is chosen by it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tinygptv.evaluation.stages import open_stage, processor_of, prompts_of
from tinygptv.ground import runtime
from tinygptv.ground.file_names import (
    ENVIRONMENT,
    EVALUATION,
    FULL_PRECISION,
    HISTORY,
    LOSS,
    PREDICTIONS,
    view_of,
)
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.names import LAST_STAGE, STAGES
from tinygptv.ground.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinygptv.evaluation.metrics import Benchmark
    from tinygptv.evaluation.questions import Question
    from tinygptv.model.inference import Generated, VisionLanguageModel
    from tinygptv.steps.harness import StepContext

PROGRESS, ANSWERS = "stages.png", "answers.png"


def run(context: StepContext) -> None:
    """Evaluate all stages.

    Raises:
        UserError: an input is missing or does not fit.
    """
    from tinygptv.data.summary import HELD_OUT, TEST
    from tinygptv.evaluation import old_answering as answering
    from tinygptv.evaluation import questions, report, scores
    from tinygptv.evaluation.benchmarks.table import suites_of

    config, settings, shards = context.config, context.config.evaluate, context.input("shards", view_of("evaluate"))
    runtime.prepare(config.runtime, context.seed)
    suites = suites_of(config.data)
    held_out, test = (questions.open_split(shards, split, suites) for split in (HELD_OUT, TEST))
    training, all_training = questions.read_baselines(shards, suites)
    slice_ = questions.evenly_spaced_list(
        questions.list_questions(held_out.records(), suites), settings.held_out_questions
    )
    asked = questions.list_questions(test.records(), suites)
    for where, split, of_split, baselines in (
        ("held-out slice", HELD_OUT, slice_, training),
        ("test set", TEST, asked, all_training),
    ):
        others = questions.without_benchmark(shards, split, suites)
        for text in questions.left_out(where, of_split, baselines, suites, others):
            print(text)
    backbones = context.input("backbones")
    for stage in STAGES:
        answering.check_room(
            processor_of(config, stage, backbones),
            [*slice_, *(asked if stage == LAST_STAGE else ())],
            prompts_of(config, stage),
            config.stage(stage).max_answer_tokens,
            config.model.text.max_position_embeddings,
            settings.max_new_tokens,
        )

    def ask(
        model: VisionLanguageModel,
        stage: str,
        features: answering.ImageFeatures,
        some: Sequence[Question],
        on_answers: Callable[[int], None] | None = None,
    ) -> list[Generated]:
        prompts, longest = prompts_of(config, stage), config.stage(stage).max_answer_tokens
        return answering.ask(model, features, some, prompts, settings, settings.batch_size, longest, on_answers)

    by_stage: dict[str, dict[str, Benchmark]] = {}
    features: dict[int, answering.ImageFeatures] = {}
    for stage in STAGES:
        if not slice_ and not (asked and stage == LAST_STAGE):  # a model is not opened to be asked nothing
            by_stage[stage] = {}
            continue
        model = open_stage(config, stage, backbones, context.input(stage))
        size = config.stage(stage).image_size
        if size not in features:
            features[size] = answering.ImageFeatures(held_out, settings.batch_size)
        said = ask(model, stage, features[size], slice_)
        by_stage[stage] = scores.score(
            slice_, [answer.text for answer in said], training, [answer.cut for answer in said]
        )
        context.run.metrics(scores.for_run(by_stage[stage], f"{stage}."))
        if slice_:
            print(f"{stage}, held-out slice: {scores.line(by_stage[stage])}")
        if stage != LAST_STAGE:  # one model at a time, as `tinygptv plan` counts
            del model
            runtime.free_memory()

    said = []
    if asked:
        started = time.monotonic()
        with Progress("test set", len(asked), unit="question") as progress:
            said = ask(model, LAST_STAGE, answering.ImageFeatures(test, settings.batch_size), asked, progress.update)
        context.run.metrics({"questions_per_second": len(asked) / (time.monotonic() - started)})
    answers = [answer.text for answer in said]
    judged = scores.judged(asked, answers, [answer.cut for answer in said], all_training)
    context.run.metrics(scores.for_run(judged["benchmarks"]))
    if asked:
        print(f"test set: {scores.line(judged['benchmarks'])}")

    write_json(context.out / PREDICTIONS, answering.predictions(asked, said))
    write_json(context.report(EVALUATION), {**judged, "held_out": by_stage, "seed": context.seed})
    write_json(context.report(FULL_PRECISION), scores.values(judged["benchmarks"]))
    histories = {stage: read_json(context.input(stage) / HISTORY) for stage in STAGES}
    report.loss_curves(histories, context.report(LOSS))
    report.stage_progress(by_stage, context.report(PROGRESS))
    if items := report.grid_items(asked, answers, test, settings.grid_images):
        report.answer_grid(items, context.report(ANSWERS))
    else:
        report.empty_picture("no question in the test set", context.report(ANSWERS))
    for name in (EVALUATION, LOSS, PROGRESS, ANSWERS):
        context.run.artifact(context.report(name))
    write_json(context.reports / ENVIRONMENT, runtime.environment() | {"threads": config.runtime.threads})
