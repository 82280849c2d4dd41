"""The plan as text for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tinygptv.fetching.plan import PICTURES_RATE, RATE
from tinygptv.ground.tables import plain_table
from tinygptv.planning.compute import PEAK_TFLOPS, UTILISATION
from tinygptv.planning.data import SetPlan, encoding_hours
from tinygptv.planning.memory import RESERVE
from tinygptv.planning.plan import GB, Plan, StagePlan, gigabytes

IN_LOOP = "  encoding in the loop *"
MARKS = {"shards": "", "published": "", "rounded": "~", "at most": "<", None: ""}
"""Who has counted images → how their number is marked."""
SLOWEST = min(PEAK_TFLOPS, key=lambda gpu: PEAK_TFLOPS[gpu])
"""The device on which hours of encoding are told."""
MEMORY: dict[str, Callable[[StagePlan], int]] = {
    "  weights": lambda stage: stage.memory.weights,
    "  gradients": lambda stage: stage.memory.gradients,
    "  optimizer (AdamW)": lambda stage: stage.memory.optimizer,
    "  activations": lambda stage: stage.memory.activations,
    "  beside them, at most": lambda stage: stage.memory.passing,
    IN_LOOP: lambda stage: stage.memory.encoding,
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
        _data(plan),
        _to_fetch(plan),
        plain_table(("disk", "GB"), _disk_rows(plan), right=(1,)),
        _notes(plan),
    ]
    return "\n\n".join(part for part in parts if part)


def as_json(plan: Plan) -> dict[str, Any]:
    """Everything of the plan and its assumptions; memory and disk in bytes."""
    content = asdict(plan)
    for entry, stage in zip(content["stages"], plan.stages, strict=True):
        entry["memory"]["peak"] = stage.memory.peak
        entry["compute"]["per_sample"] = stage.compute.per_sample
    for entry, of_set in zip(content["sets"], plan.sets, strict=True):
        entry |= {"features": of_set.features, "once": of_set.once, "in_loop": of_set.in_loop}
        entry["cheaper"] = of_set.cheaper
        entry["hours"] = {gpu: _encoding(of_set, gpu) for gpu in plan.stages[0].hours}
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
        if label != IN_LOOP or any(map(size, stages)):
            rows.append(row(label, lambda stage, size=size: _number(size(stage))))  # type: ignore[misc]
    rows += [
        row(f"  of {gigabytes(plan.capacity)}", lambda stage: f"{stage.memory.peak / plan.capacity:.0%}"),
        row("  fits", lambda stage: "yes" if stage.fits else "NO"),
        row("samples", lambda stage: f"{stage.compute.samples:,.0f}"),
        *(
            [row("  held-out ones looked at", lambda stage: f"{stage.compute.looked_at:,}")]
            if any(stage.compute.looked_at for stage in stages)
            else []
        ),
        row("operations a sample, 10^9", lambda stage: _billions(stage.compute.per_sample)),
        row("image features", lambda stage: stage.features),
        row("  cheaper", lambda stage: stage.cheaper or "?"),
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


def _data(plan: Plan) -> str:
    """Data sets with what they take; where no hours are known, operations."""
    rows, gpu = [], SLOWEST if plan.stages[0].hours else ""
    for of_set in plan.sets:
        in_loop, once = (
            "?" if work is None else _figure(encoding_hours(work, gpu) if gpu else work / 1e15)
            for work in (of_set.in_loop, of_set.once)
        )
        sizes = ("?" if size is None else _number(size) for size in (of_set.shards, of_set.features))
        images = "?" if of_set.images is None else f"{MARKS[of_set.source]}{of_set.images:,}"
        name, samples = f"{of_set.dataset}, {of_set.image_size}", f"{of_set.samples:,.0f}"
        rows.append((name, images, samples, *sizes, once, in_loop, of_set.cheaper or "?"))
    first = f"data set, pixels; GB, {'hours' if gpu else '10^15'}"
    head = (first, "images", "samples", "shards", "features", "once", "in loop", "cheaper")
    return plain_table(head, rows, right=range(1, 7))


def _to_fetch(plan: Plan) -> str:
    """Published data that are not there: bytes, images, hours."""
    found = plan.to_fetch
    if found is None:
        return ""
    unknown = f", and {found.unknown} files of unknown size" if found.unknown else ""
    lines = [
        f"Data to fetch: {found.files} files, {found.size / GB:,.1f} GB{unknown}; {found.by_hand} things by hand.",
        f"By address: {found.pictures:,} images, some {found.picture_bytes / GB:,.0f} GB." if found.pictures else "",
        f"Hours: {found.hours:,.1f}, at {RATE / 1e6:.0f} MB and {PICTURES_RATE} images a second. "
        "`tinygptv data fetch` has it by set.",
    ]
    return "\n".join(line for line in lines if line)


def _disk_rows(plan: Plan) -> list[tuple[str, str]]:
    rows = [(use.what, _number(use.size)) for use in plan.disk]
    if plan.to_fetch is not None:
        rows.append(("raw data to come, at least", _number(plan.to_fetch.kept + plan.to_fetch.picture_bytes)))
    largest: dict[str, SetPlan] = {of_set.dataset: of_set for of_set in plan.sets}
    rows.append(("shards, as far as counted", _number(sum(of_set.shards or 0 for of_set in largest.values()))))
    cached = [of_set.features or 0 for of_set in plan.sets if of_set.cheaper == "cached"]
    rows.append(("features of sets for which caching pays", _number(sum(cached))))
    return rows


def _encoding(of_set: SetPlan, gpu: str) -> dict[str, float | None]:
    once = None if of_set.once is None else encoding_hours(of_set.once, gpu)
    return {"once": once, "in_loop": encoding_hours(of_set.in_loop, gpu)}


def _notes(plan: Plan) -> str:
    encoder = ", ".join(f"{_billions(flops)} at {size} px" for size, flops in plan.encoder_forward.items())
    encodes = any(stage.memory.encoding for stage in plan.stages)
    on = f"Hours: {SLOWEST}. " if plan.stages[0].hours else ""
    lines = [
        "* never at the same time as activations: the larger one counts." if encodes else "",
        "Exact: parameters, weights, gradients, optimizer, checkpoints. By a pass on tensors without numbers:",
        f"activations and what is beside them. Estimated: other steps. Assumed: {RESERVE / GB:.2f} GB of reserve.",
        "Sequences are as long as max_sequence_tokens allows; real ones are shorter.",
        f"Tower and Q-Former take {encoder} (10^9 operations an image):",
        "once an image of the set where its features are cached, else at every sample. So caching pays for",
        f"sets with fewer images than samples. {on}`?`: nobody has counted them.",
        "Images: `~` a round number of the publishers, `<` at most the set's pictures or records, both until",
        "the step shards has counted them; configs/datasets.lock.json names who says so.",
        f"Hours assume {UTILISATION:.0%} of the makers' peak for bfloat16. They are no measurement."
        if plan.stages[0].hours
        else "Hours are estimated for runtime.dtype bfloat16 only.",
    ]
    return "\n".join(filter(None, lines))


def _number(size: int) -> str:
    if size >= 1000 * GB:
        return f"{size / GB:,.0f}"
    return f"{size / GB:.2f}" if size >= GB / 100 else f"{size / GB:.4f}"


def _billions(operations: float) -> str:
    billions = operations / 1e9
    return f"{billions:,.0f}" if billions >= 10 else f"{billions:.3f}"


def _figure(number: float) -> str:
    return f"{number:.1f}" if number >= 1 else f"{number:.2g}"


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"
