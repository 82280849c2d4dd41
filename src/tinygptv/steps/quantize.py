"""The step ``quantize``: adapters merged, language model in 8 bits, saved, and tested from disk in a fresh process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygptv.evaluation.package import PackageJob, answer_all
from tinygptv.evaluation.stages import open_stage
from tinygptv.ground import digests
from tinygptv.ground.children import child, event
from tinygptv.ground.errors import DataError
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
from tinygptv.ground.names import LAST_STAGE, STAGES

if TYPE_CHECKING:
    from pathlib import Path

    from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Quantize stage 4 and test the package on the full test set.

    Raises:
        UserError: an input is missing or does not fit.
    """
    from tinygptv.evaluation import metrics, scores
    from tinygptv.evaluation.benchmarks.table import suites_of
    from tinygptv.evaluation.package_card import model_card, trained_on
    from tinygptv.evaluation.questions import list_test_set, read_baselines
    from tinygptv.ground import runtime
    from tinygptv.model.stage_checkpoint import init_of

    runtime.prepare(context.config.runtime, context.seed)
    view = view_of("evaluate")
    shards = context.input("shards", view)
    package = context.out / PACKAGE_FOLDER
    package.mkdir()
    answers_file, measured_file = context.out / PREDICTIONS, context.staging / "measured.json"
    job = PackageJob(context.config, context.seed, shards, package, answers_file, measured_file, shown="8 bits")
    complete = event()
    with child(answer_all, job, complete):  # which imports and reads while the package is made
        unquantized_bytes = make(context, package)
        complete.set()
    predictions = read_json(answers_file)
    suites = suites_of(context.config.data)
    questions, answers = list_test_set(shards, suites), [prediction["answer"] for prediction in predictions]
    former = scores.former_answers(questions, read_json(context.input("evaluate") / PREDICTIONS))
    if former is None:
        raise DataError("evaluate and quantize asked different questions; run `dvc repro evaluate`")
    _, baselines = read_baselines(shards, suites)
    judged = scores.judged(questions, answers, [prediction["cut"] for prediction in predictions], baselines)
    package_bytes = (package / WEIGHTS).stat().st_size
    report: dict[str, Any] = {
        **judged,
        "agreement": scores.compared(questions, answers, former),
        "bytes": {"unquantized": unquantized_bytes, "quantized": package_bytes},
        "seed": context.seed,
    }
    write_json(context.report(QUANTIZATION), report)
    write_json(context.report(EIGHT_BITS), scores.values(judged["benchmarks"]))
    made_of = {stage: str(read_json(context.input(stage) / MANIFEST)["sha256"]) for stage in STAGES}
    made_of |= {"backbones": sha256_tree(context.input("backbones")), f"shards/{view}": sha256_file(shards / view)}
    if init := init_of(context.input("backbones")):
        made_of[f"init ({init['from']})"] = init["sha256"]
        context.run.params({f"init.{key}": value for key, value in init.items()})
    with digests.sealed(package):
        write_text(package / "README.md", model_card(context.profile.name, report, made_of, trained_on(context.config)))
    context.run.metrics(scores.for_run(judged["benchmarks"]))
    if answers:
        context.run.metrics({"agreement": metrics.agreement(answers, former)})
    context.run.metrics({"package_bytes": package_bytes, **read_json(measured_file)})
    context.run.artifact(context.report(QUANTIZATION))
    if answers:
        print(f"8-bit, reloaded: {scores.line(judged['benchmarks'])}")
    print(f"{scores.agreed(report['agreement'])} {unquantized_bytes:,} -> {package_bytes:,} bytes")


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
