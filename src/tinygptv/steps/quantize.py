"""The step ``quantize``: adapters merged, language model in 8 bits, saved, and tested from disk in a fresh process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.package import PackageJob, answer_all, folder_subject
from tinygptv.evaluation.stages import open_stage
from tinygptv.ground import digests
from tinygptv.ground.children import child, event
from tinygptv.ground.file_names import (
    EIGHT_BITS,
    MANIFEST,
    PACKAGE_FOLDER,
    PREDICTIONS,
    QUANTIZATION,
    WEIGHTS,
    view_of,
)
from tinygptv.ground.files import read_json, sha256_file, sha256_tree, write_json, write_text
from tinygptv.ground.folders import answers_folder
from tinygptv.ground.names import LAST_STAGE, STAGES

if TYPE_CHECKING:
    from pathlib import Path

    from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Quantize stage 4 and test the package on the full test set.

    Raises:
        UserError: an input is missing or does not fit.
    """
    from tinygptv.evaluation import scores
    from tinygptv.evaluation.answer_store import AnswerStore
    from tinygptv.evaluation.baselines import read_baselines
    from tinygptv.evaluation.benchmarks.table import asks_of
    from tinygptv.evaluation.coverage import check_counts
    from tinygptv.evaluation.measuring import judged
    from tinygptv.evaluation.package_card import CARD, model_card, trained_on
    from tinygptv.evaluation.predictions import Agreement, agreed, kept
    from tinygptv.evaluation.questions import open_questions
    from tinygptv.ground import runtime
    from tinygptv.model.stage_checkpoint import init_of

    config, view = context.config, view_of("evaluate")
    runtime.prepare(config.runtime, context.seed)
    shards, asks = context.input("shards", view), asks_of(config)
    questions = open_questions(shards, "test", asks)
    check_counts(shards, asks, questions.counts())
    package = context.out / PACKAGE_FOLDER
    package.mkdir()
    job = PackageJob(
        config=config,
        seed=context.seed,
        shards=shards,
        package=package,
        store=answers_folder(context.root, context.profile.name),
        asker=context.step,
        measured=context.staging / "measured.json",
        shown="8 bits",
        beside=config.evaluate.presets[1:],
    )
    complete = event()
    with child(answer_all, job, complete):  # which imports and reads while the package is made
        unquantized_bytes = make(context, package)
        complete.set()
    _, baselines = read_baselines(shards, asks, questions[:0], questions)
    agreement, preset = Agreement(context.input("evaluate") / PREDICTIONS), config.evaluate.presets[0]
    reloaded = folder_subject(config, package)
    with AnswerStore.opened(job.store, job.asker, config.runtime) as store, kept(context.out / PREDICTIONS) as keep:
        reached = judged(reloaded, questions, baselines, preset, store, keeps=(agreement, keep))
        beside = {other: judged(reloaded, questions, baselines, other, store)["benchmarks"] for other in job.beside}
    compared = agreement.result()
    package_bytes = (package / WEIGHTS).stat().st_size
    report: dict[str, Any] = {
        **reached,
        "presets": beside,
        "agreement": compared,
        "bytes": {"unquantized": unquantized_bytes, "quantized": package_bytes},
        "seed": context.seed,
    }
    write_json(context.report(QUANTIZATION), report)
    write_json(context.report(EIGHT_BITS), scores.values(reached["benchmarks"]))
    made_of = {stage: str(read_json(context.input(stage) / MANIFEST)["sha256"]) for stage in STAGES}
    made_of |= {"backbones": sha256_tree(context.input("backbones")), f"shards/{view}": sha256_file(shards / view)}
    if init := init_of(context.input("backbones")):
        made_of[f"init ({init['from']})"] = init["sha256"]
        context.run.params({f"init.{key}": value for key, value in init.items()})
    with digests.sealed(package):
        write_text(package / CARD, model_card(context.profile.name, report, made_of, trained_on(config)))
    context.run.metrics(scores.for_run(reached["benchmarks"]))
    for preset, found in beside.items():
        context.run.metrics(scores.for_run(found, f"{preset}."))
    if len(questions):
        context.run.metrics({"agreement": compared["value"]})
    context.run.metrics({"package_bytes": package_bytes, **read_json(job.measured)})
    context.run.artifact(context.report(QUANTIZATION))
    if len(questions):
        print(f"8-bit, reloaded: {scores.line(reached['benchmarks'])}")
        for preset, found in beside.items():
            print(f"8-bit, reloaded, {preset}: {scores.line(found)}")
    print(f"{agreed(compared)} {unquantized_bytes:,} -> {package_bytes:,} bytes")


def make(context: StepContext, package: Path) -> int:
    """Write the package, and leave no model in memory.

    Returns:
        Bytes that its weights would take without quantization.
    """
    from tinygptv.ground import runtime
    from tinygptv.model.adapters import merge_lora
    from tinygptv.model.int8 import save_quantized

    config = context.config
    model = open_stage(config, LAST_STAGE, context.input("backbones"), context.input(LAST_STAGE))
    merge_lora(model.model)
    unquantized_bytes = save_quantized(
        model,
        package,
        outlier_threshold=config.quantize.outlier_threshold,
        max_new_tokens=config.evaluate.max_new_tokens,
    )
    del model
    runtime.free_memory()
    return unquantized_bytes
