"""The plan as text for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tinygptv.ground.tables import plain_table
from tinygptv.planning.compute import PEAK_TFLOPS, UTILISATION
from tinygptv.planning.memory import RESERVE
from tinygptv.planning.plan import GB, Plan, StagePlan, gigabytes

MEMORY: dict[str, Callable[[StagePlan], int]] = {
    "  weights": lambda stage: stage.memory.weights,
    "  gradients": lambda stage: stage.memory.gradients,
    "  optimizer (AdamW)": lambda stage: stage.memory.optimizer,
    "  activations": lambda stage: stage.memory.activations,
    "  a block's backward pass *": lambda stage: stage.memory.block,
    "  logits and loss *": lambda stage: stage.memory.logits,
    "  reserve": lambda stage: stage.memory.reserve,
    "  peak": lambda stage: stage.memory.peak,
}


def render(plan: Plan) -> str:
    """The whole plan, at most 100 columns wide."""
    where = "a GPU" if plan.device == "cuda" else "a machine"
    parts = [
        f"Profile {plan.profile} in {plan.dtype} on {where} of {gigabytes(plan.capacity)}",
        _parameters(plan),
        plain_table(("", *(stage.name for stage in plan.stages)), _stage_rows(plan), right=range(1, 5)),
        _too_large(plan),
        plain_table(("other steps", "", "peak, GB", ""), _step_rows(plan), right=(2,)),
        plain_table(("disk", "GB"), [(use.what, _number(use.size)) for use in plan.disk], right=(1,)),
        _notes(plan),
    ]
    return "\n\n".join(part for part in parts if part)


def as_json(plan: Plan) -> dict[str, Any]:
    """Everything of the plan and its assumptions; memory and disk in bytes."""
    content = asdict(plan)
    for entry, stage in zip(content["stages"], plan.stages, strict=True):
        entry["memory"]["peak"] = stage.memory.peak
        entry["compute"]["per_sample"] = stage.compute.per_sample
    assumed = {"utilisation": UTILISATION, "peak_tflops": PEAK_TFLOPS, "reserve": RESERVE}
    return content | {"fits": plan.fits, "assumed": assumed}


def _parameters(plan: Plan) -> str:
    rows = [(part, f"{count:,}") for part, count in plan.parameters.items()]
    return plain_table(("parameters", f"{sum(plan.parameters.values()):,}"), rows, right=(1,))


def _stage_rows(plan: Plan) -> list[tuple[str, ...]]:
    stages = plan.stages

    def row(label: str, cell: Callable[[StagePlan], str]) -> tuple[str, ...]:
        return (label, *(cell(stage) for stage in stages))

    rows = [
        row("parameters in memory", lambda stage: f"{stage.parameters:,}"),
        row("parameters trained", lambda stage: f"{stage.trainable:,}"),
        row("forward pass, sequences x tokens", lambda stage: f"{stage.samples} x {stage.tokens}"),
        row("memory, GB", lambda stage: ""),
    ]
    for label, size in MEMORY.items():
        rows.append(row(label, lambda stage, size=size: _number(size(stage))))  # type: ignore[misc]
    rows += [
        row(f"  of {gigabytes(plan.capacity)}", lambda stage: f"{stage.memory.peak / plan.capacity:.0%}"),
        row("  fits", lambda stage: "yes" if stage.fits else "NO"),
        row("samples", lambda stage: f"{stage.compute.samples:,.0f}"),
        row("operations a sample, 10^9", lambda stage: _billions(stage.compute.per_sample)),
    ]
    if stages[0].hours:
        rows.append(row("hours at most, by assumption", lambda stage: ""))
    for gpu in stages[0].hours:
        rows.append(row(f"  {gpu}", lambda stage, gpu=gpu: _hours(stage.hours[gpu])))  # type: ignore[misc]
    return rows


def _too_large(plan: Plan) -> str:
    """What would make the stages fit that do not, with the peak of each change."""
    rows: list[tuple[str, ...]] = []
    for stage in plan.stages:
        if stage.fits:
            continue
        rows.append((f"{stage.name} as it is", _number(stage.memory.peak), ""))
        for change in stage.changes:
            *first, last = str(change).split(", ")
            rows += [(f"  {setting}, and", "", "") for setting in first]
            rows.append((f"  {last}", _number(change.peak), "fits" if change.fits else ""))
    return plain_table(("what would make it fit", "peak, GB", ""), rows, right=(1,)) if rows else ""


def _step_rows(plan: Plan) -> list[tuple[str, ...]]:
    return [
        (step.step, step.what, _number(step.peak), "" if step.peak <= plan.capacity else f"TOO LARGE: {step.change}")
        for step in plan.steps
    ]


def _notes(plan: Plan) -> str:
    encoder = ", ".join(f"{_billions(flops)} at {size} px" for size, flops in plan.encoder_forward.items())
    lines = [
        "* never at the same time: the larger one counts.",
        "Exact: parameters, weights, gradients, optimizer, checkpoints. By formula: activations, logits.",
        f"Estimated: a block's gradients on their way, other steps. Assumed: {RESERVE / GB:.2f} GB of reserve.",
        "Sequences are as long as max_sequence_tokens allows; real ones are shorter.",
        f"The step features also takes {encoder} (10^9 operations an image), once.",
        f"Hours assume {UTILISATION:.0%} of the makers' peak for bfloat16. They are no measurement."
        if plan.stages[0].hours
        else "Hours are estimated for runtime.dtype bfloat16 only.",
    ]
    return "\n".join(lines)


def _number(size: int) -> str:
    return f"{size / GB:.2f}" if size >= GB / 100 else f"{size / GB:.4f}"


def _billions(operations: float) -> str:
    billions = operations / 1e9
    return f"{billions:,.0f}" if billions >= 10 else f"{billions:.3f}"


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"
