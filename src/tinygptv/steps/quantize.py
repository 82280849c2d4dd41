"""The step ``quantize``: adapters merged, language model in 8 bits, saved, and tested from disk in a fresh process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.config import Config
from tinygptv.ground import digests
from tinygptv.ground.children import child, event
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json, sha256_tree, write_json, write_text
from tinygptv.ground.names import STAGES
from tinygptv.steps.evaluate import (
    LAST,
    PREDICTIONS,
    line,
    log_values,
    metrics_of,
    open_stage,
    prompts_of,
    read_baselines,
)

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from tinygptv.config import Prompt
    from tinygptv.steps.harness import StepContext

PACKAGE = "model"


@dataclass(frozen=True, slots=True)
class PackageJob:
    """What the testing process needs."""

    config: Config
    seed: int
    prompts: dict[str, Prompt]
    package: Path
    shards: Path
    answers: Path
    measured: Path


def run(context: StepContext) -> None:
    """Quantize stage 4 and test the package on the full test set.

    Raises:
        UserError: an input is missing or does not fit.
    """
    from tinygptv.data.shards import read_records
    from tinygptv.data.summary import tars
    from tinygptv.evaluation import benchmarks, metrics
    from tinygptv.ground import runtime
    from tinygptv.model.adapters import merge_lora
    from tinygptv.model.int8 import save_quantized

    config, settings = context.config, context.config.quantize
    runtime.prepare(config.runtime, context.seed)
    shards = context.input("shards")
    package = context.out / PACKAGE
    package.mkdir()
    job = PackageJob(
        config,
        context.seed,
        prompts_of(context, LAST),
        package,
        shards,
        context.out / PREDICTIONS,
        context.staging / "measured.json",
    )
    complete = event()
    with child(measure_package, job, complete):  # which imports and reads while the package is made
        model = open_stage(context, LAST)
        merge_lora(model.model)
        unquantized_bytes = save_quantized(
            model,
            package,
            outlier_threshold=settings.outlier_threshold,
            max_new_tokens=config.evaluate.max_new_tokens,
        )
        del model
        runtime.free_memory()
        complete.set()
    measured, predictions = read_json(job.measured), read_json(job.answers)
    questions = benchmarks.list_questions(read_records(tars(shards, "test-*.tar")))
    answers = [prediction["answer"] for prediction in predictions]
    before = read_json(context.input("evaluate") / PREDICTIONS)
    if [p["record"] for p in before] != [p["record"] for p in predictions]:
        raise DataError("evaluate and quantize asked different questions; run `dvc repro evaluate`")
    _, baselines = read_baselines(shards)
    scores = benchmarks.score(questions, answers, baselines, [prediction["cut"] for prediction in predictions])
    former = [p["answer"] for p in before]
    agreement = metrics.agreement(answers, former) if answers else None
    by_benchmark = {
        name: round(metrics.agreement(*zip(*pairs, strict=True)), 6)
        for task, name in benchmarks.BENCHMARKS.items()
        if (pairs := [(a, b) for q, a, b in zip(questions, answers, former, strict=True) if q.task == task])
    }
    package_bytes = (package / "model.safetensors").stat().st_size
    content: dict[str, Any] = {
        "benchmarks": scores,
        "by_type": benchmarks.score_by_type(questions, answers, baselines),
        "agreement": {"value": agreement and round(agreement, 6), "n": len(answers), "by_benchmark": by_benchmark},
        "bytes": {"unquantized": unquantized_bytes, "quantized": package_bytes},
        "seed": context.seed,
    }
    write_json(context.report("quantize.json"), content)
    write_json(context.report("8bit.json"), metrics_of(scores))
    with digests.sealed(package):
        write_text(package / "README.md", model_card(context, content))
    log_values(context, "", scores)
    compared = {} if agreement is None else {"agreement": agreement}
    context.run.metrics({**compared, "package_bytes": package_bytes, **measured})
    context.run.artifact(context.report("quantize.json"))
    print(f"8-bit, reloaded: {line(scores)}")
    print(f"{agreed(content)} {unquantized_bytes:,} -> {package_bytes:,} bytes")


def measure_package(job: PackageJob, complete: Event) -> None:
    """Open the package from disk, once it is complete, and answer the whole test set; runs in its own process."""
    import resource

    from tinygptv.data.shards import read_samples
    from tinygptv.data.summary import tars
    from tinygptv.evaluation import answering, benchmarks
    from tinygptv.ground import runtime
    from tinygptv.model.inference import VisionLanguageModel

    runtime.prepare(job.config.runtime, job.seed)
    samples = list(read_samples(tars(job.shards, "test-*.tar")))
    questions = benchmarks.list_questions([sample.record for sample in samples])
    complete.wait()
    model = VisionLanguageModel.from_folder(job.package, job.config.runtime.device)
    batch_size = job.config.quantize.batch_size
    started = time.monotonic()
    said = answering.ask(
        model,
        answering.encode(model, samples, batch_size),
        questions,
        job.prompts,
        job.config.evaluate,
        batch_size,
        job.config.stage(LAST).max_answer_tokens,
    )
    seconds = time.monotonic() - started
    tokens = sum(answer.tokens + (not answer.cut) for answer in said)
    write_json(job.answers, answering.predictions(questions, said))
    measured = {
        "questions_per_second": len(questions) / seconds,
        "tokens_per_second": tokens / seconds,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    write_json(job.measured, measured)


def agreed(content: dict[str, Any]) -> str:
    """The share of equal answers in words."""
    share = content["agreement"]["value"]
    if share is None:
        return "The test set has no question, so nothing was compared with the unquantized model."
    return f"Answers equal to the unquantized model's: {share:.4f}."


def model_card(context: StepContext, content: dict[str, Any]) -> str:
    """The package's model card: what it is, how it answers, and the digests that it was made from."""
    from tinygptv.model.stage_checkpoint import MANIFEST

    rows = []
    for name, score in content["benchmarks"].items():
        low, high = score["ci95"]
        rows.append(f"| {name} | {score['metric']} | {score['value']:.4f} | {low:.4f} to {high:.4f} | {score['n']} |")
    lineage = [f"| {stage} | `{read_json(context.input(stage) / MANIFEST)['sha256']}` |" for stage in STAGES]
    lineage += [f"| {name} | `{sha256_tree(context.input(name))}` |" for name in ("shards", "backbones", "features")]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: image-text-to-text",
            "license: apache-2.0",
            "---",
            f"# TinyGPT-V, profile {context.profile.name}, 8 bits",
            "",
            "The architecture of TinyGPT-V (arXiv 2312.16862), trained in its four stages; the language model is in",
            "LLM.int8() of bitsandbytes.",
            "",
            "```python",
            "import tinygptv",
            'model = tinygptv.load("path/to/this/folder")',
            'model.answer(["image.png"], ["what color is the shape?"])',
            "```",
            "",
            "| benchmark | metric | value | 95 % interval | n |",
            "|---|---|---|---|---|",
            *rows,
            "",
            agreed(content),
            "",
            f"Made from these, with seed {context.seed}:",
            "",
            "| step | SHA-256 |",
            "|---|---|",
            *lineage,
            "",
        ]
    )
