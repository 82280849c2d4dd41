"""The step ``evaluate``: the last stage on the full test set, every stage on the held-out slice, and the pictures.

Everything goes through the pixels. The test set is asked once, of the finished model; nothing is chosen by it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.ground import runtime
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.names import STAGES
from tinygptv.model.stage_checkpoint import HISTORY

if TYPE_CHECKING:
    from tinygptv.config import Prompt
    from tinygptv.data.records import ImageSample
    from tinygptv.evaluation.benchmarks import Baselines, Question
    from tinygptv.evaluation.metrics import Benchmark
    from tinygptv.evaluation.report import AnswerItem
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.model.processing import TinyGPTVProcessor
    from tinygptv.steps.harness import StepContext

LAST = STAGES[-1]
PREDICTIONS = "predictions.json"


def run(context: StepContext) -> None:
    """Evaluate all stages.

    Raises:
        UserError: an input is missing or does not fit.
    """
    from tinygptv.data.shards import read_samples
    from tinygptv.data.summary import tars
    from tinygptv.evaluation import answering, benchmarks, report

    config, settings, shards = context.config, context.config.evaluate, context.input("shards")
    runtime.prepare(config.runtime, context.seed)
    held_out = list(read_samples(tars(shards, "val-*.tar")))
    test = list(read_samples(tars(shards, "test-*.tar")))
    training, all_training = read_baselines(shards)
    slice_ = benchmarks.evenly_spaced(
        benchmarks.list_questions([sample.record for sample in held_out]), settings.held_out_questions
    )
    questions = benchmarks.list_questions([sample.record for sample in test])
    for text in (*left_out("held-out slice", slice_, training), *left_out("test set", questions, all_training)):
        print(text)
    for stage in STAGES:
        answering.check_room(
            processor_of(context, stage),
            [*slice_, *(questions if stage == LAST else ())],
            prompts_of(context, stage),
            config.stage(stage).max_answer_tokens,
            config.model.text.max_position_embeddings,
            settings.max_new_tokens,
        )

    by_stage: dict[str, dict[str, Benchmark]] = {}
    features: dict[int, dict[str, Any]] = {}
    for stage in STAGES:
        model = open_stage(context, stage)
        size = config.stage(stage).image_size
        if size not in features:
            features[size] = answering.encode(model, held_out, settings.batch_size)
        said = answering.ask(
            model,
            features[size],
            slice_,
            prompts_of(context, stage),
            settings,
            settings.batch_size,
            config.stage(stage).max_answer_tokens,
        )
        by_stage[stage] = benchmarks.score(
            slice_, [answer.text for answer in said], training, [answer.cut for answer in said]
        )
        log_values(context, f"{stage}.", by_stage[stage])
        print(f"{stage}, held-out slice: {line(by_stage[stage])}")
        if stage != LAST:  # one model at a time, as `tinygptv plan` counts
            del model
            runtime.free_memory()

    started = time.monotonic()
    said = answering.ask(
        model,
        answering.encode(model, test, settings.batch_size),
        questions,
        prompts_of(context, LAST),
        settings,
        settings.batch_size,
        config.stage(LAST).max_answer_tokens,
    )
    context.run.metrics({"questions_per_second": len(questions) / (time.monotonic() - started)})
    answers = [answer.text for answer in said]
    scores = benchmarks.score(questions, answers, all_training, [answer.cut for answer in said])
    log_values(context, "", scores)
    print(f"test set: {line(scores)}")

    predictions = answering.predictions(questions, said)
    write_json(context.out / PREDICTIONS, predictions)
    content = {
        "benchmarks": scores,
        "by_type": benchmarks.score_by_type(questions, answers, all_training),
        "held_out": by_stage,
        "seed": context.seed,
    }
    write_json(context.report("evaluate.json"), content)
    write_json(context.report("full.json"), metrics_of(scores))
    histories = {stage: read_json(context.input(stage) / HISTORY) for stage in STAGES}
    report.loss_curves(histories, context.report("loss.png"))
    report.stage_progress(by_stage, context.report("stages.png"))
    if items := grid_items(questions, answers, test, settings.grid_images):
        report.answer_grid(items, context.report("answers.png"))
    else:
        report.empty_picture("no question in the test set", context.report("answers.png"))
    for name in ("evaluate.json", "loss.png", "stages.png", "answers.png"):
        context.run.artifact(context.report(name))
    machine = runtime.environment() | {"threads": context.config.runtime.threads}
    write_json(context.reports / "environment.json", machine)


def left_out(where: str, questions: Sequence[Question], baselines: Baselines) -> list[str]:
    """A line for each benchmark that is not in the report, or stands there without what it is to be compared with."""
    from tinygptv.evaluation.benchmarks import BENCHMARKS

    lines, asked = [], {question.task for question in questions}
    for task, name in BENCHMARKS.items():
        if task not in asked:
            lines.append(f"{where}: no record of the task {task}; {name} is left out")
        elif baselines.constant(task) is None:
            lines.append(f"{where}: no training record of the task {task}; {name} has no baseline")
    return lines


def read_baselines(shards: Path) -> tuple[Baselines, Baselines]:
    """Baselines of the images that train, for the held-out slice, and of all training images, for the test set."""
    from tinygptv.data.shards import read_records
    from tinygptv.data.summary import tars
    from tinygptv.evaluation.benchmarks import fit_baselines

    trained = [r for image in read_records(tars(shards, "train-*.tar")) for r in image.records]
    held_out = [r for image in read_records(tars(shards, "val-*.tar")) for r in image.records]
    return fit_baselines(trained), fit_baselines(trained + held_out)


def open_stage(context: StepContext, stage: str) -> VisionLanguageModel:
    """The model as a stage left it."""
    import torch

    from tinygptv.model import assembly, stage_checkpoint
    from tinygptv.model.inference import VisionLanguageModel

    config, backbones = context.config, context.input("backbones")
    model = assembly.assemble(config, backbones, with_tower=True)
    stage_checkpoint.load_stage(model, context.input(stage), stage, config, backbones)
    dtype = getattr(torch, config.runtime.dtype)
    model = assembly.for_inference(model, dtype).to(runtime.resolve_device(config.runtime.device))
    return VisionLanguageModel(model, processor_of(context, stage))


def processor_of(context: StepContext, stage: str) -> TinyGPTVProcessor:
    """The processor of a stage's model."""
    from tinygptv.model.processing import build_processor, read_tokenizer

    config = context.config
    return build_processor(
        read_tokenizer(context.input("backbones")),
        config.stage(stage).prompt,
        image_size=config.stage(stage).image_size,
        num_query_tokens=config.model.qformer.num_query_tokens,
        vocab_size=config.model.text.vocab_size,
    )


def prompts_of(context: StepContext, stage: str) -> dict[str, Prompt]:
    """How a stage is asked: for captions in its own form, for what it was not taught in that of the last stage."""
    last = context.config.stage(LAST).prompt
    return {"vqa": last, "refer": last, "caption": context.config.stage(stage).prompt}


def log_values(context: StepContext, prefix: str, scores: dict[str, Benchmark]) -> None:
    """Send the value of each benchmark, and its count of cut answers, to the step's run."""
    context.run.metrics({f"{prefix}{name}": value for name, value in metrics_of(scores).items()})
    context.run.metrics({f"{prefix}{name}.cut": score["cut"] for name, score in scores.items()})


def metrics_of(scores: dict[str, Benchmark]) -> dict[str, float]:
    """What `dvc metrics show` prints: a number for each benchmark, narrow enough for a terminal."""
    return {name: score["value"] for name, score in scores.items()}


def line(scores: dict[str, Benchmark]) -> str:
    """Benchmarks in one line, with what they are to be compared with."""
    parts = []
    for name, score in scores.items():
        others = [f"{kind} {score[kind]:.4f}" for kind in ("majority", "blind", "trivial") if score[kind] is not None]
        others += [f"n {score['n']}"] + [f"{score['cut']} cut at evaluate.max_new_tokens"] * (score["cut"] > 0)
        parts.append(f"{name} {score['value']:.4f} ({', '.join(others)})")
    return ", ".join(parts)


def grid_items(
    questions: Sequence[Question], answers: Sequence[str], samples: Sequence[ImageSample], count: int
) -> list[AnswerItem]:
    """Test images for the picture: evenly spaced, the tasks in turn, wrong answers included as they come."""
    from tinygptv.evaluation.benchmarks import is_right
    from tinygptv.evaluation.report import AnswerItem

    images = {sample.key: sample.image_bytes for sample in samples}
    found = {task: [i for i, q in enumerate(questions) if q.task == task] for task in ("vqa", "refer", "caption")}
    by_task = {task: places for task, places in found.items() if places}
    items = []
    for place in range(count if by_task else 0):
        of_task = list(by_task.values())[place % len(by_task)]
        i = of_task[place * len(of_task) // count]
        q, answer = questions[i], answers[i]
        items.append(AnswerItem(images[q.key], q.task, q.content, answer, q.truth, is_right(q, answer)))
    return items
