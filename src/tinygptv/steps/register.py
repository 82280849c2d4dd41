"""Step ``register``: the 8-bit package becomes a version of the registered model, and champion if the gate lets it.

A refusal is a result, not a failure: the version stays challenger and the former champion stays champion. The step has
no DVC outputs; MLflow holds what it makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.ground.file_names import EVALUATION, GATE, PACKAGE_FOLDER, QUANTIZATION
from tinygptv.ground.files import read_json, write_json

if TYPE_CHECKING:
    from tinygptv.promotion.decide import Decision
    from tinygptv.promotion.register import Registration
    from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Register ``data/<profile>/quantize/model`` with the numbers of ``quantize.json`` and ``evaluate.json``."""
    from tinygptv.ground.folders import reports_folder
    from tinygptv.promotion.register import register_package
    from tinygptv.tracking import facts
    from tinygptv.tracking.description import step_digests
    from tinygptv.tracking.runs import git_state
    from tinygptv.tracking.version_tags import Lineage

    profile = context.profile.name
    reports = reports_folder(context.root, profile)
    package = context.input("quantize") / PACKAGE_FOLDER
    digests = step_digests(context.root, profile)
    lineage = Lineage(
        profile=profile,
        git_sha=git_state(context.root)[0],
        digests=digests,
        quantized=read_json(reports / QUANTIZATION),
        unquantized=read_json(reports / EVALUATION),
        run_id=context.run.wait_for_id(),
        experiment=facts.experiment(),
    )
    done = register_package(context.root, package, context.profile, lineage)
    context.run.tags({"model.version": f"{done.name}/{done.version}", "model.aliases": ",".join(done.aliases)})
    if done.decision is not None:
        _record(context, done.decision)
    print(report(done))


def _record(context: StepContext, decision: Decision) -> None:
    """What the gate said, in the step's run."""
    context.run.metrics({row.check.replace(" ", "_"): row.value for row in decision.rows if row.value is not None})
    file = context.staging / GATE
    write_json(file, decision.as_json())
    context.run.artifact(file)
    passed, reasons = str(decision.passed).lower(), "; ".join(decision.reasons) or "none"
    context.run.tags({"gate.passed": passed, "gate.reasons": reasons})


def report(done: Registration) -> str:
    """One line for the user."""
    new = "registered" if done.created else "registered before"
    line = f"{done.name} version {done.version} ({new}), {', '.join(done.aliases)}"
    if done.decision is None:
        ask = f"an experiment: no alias moves; `tinygptv promote {done.version}` asks the gate"
        return f"{line.removesuffix(', ')}, {ask}"
    return line if done.decision.passed else f"{line}; not made champion: {'; '.join(done.decision.reasons)}"
