"""Step ``register``: the 8-bit package becomes a version of the registered model, and champion if the gate lets it.

A refusal is a result, not a failure: the version stays challenger and the former champion stays champion. The step has
no DVC outputs; MLflow holds what it makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.files import read_json, write_json

if TYPE_CHECKING:
    from tinygptv.promotion.register import Registration
    from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Register ``data/<profile>/quantize/model`` with the numbers of ``quantize.json`` and ``evaluate.json``."""
    from tinygptv.promotion.register import register_package
    from tinygptv.steps.harness import reports_folder
    from tinygptv.tracking.card import step_digests
    from tinygptv.tracking.registry import Lineage
    from tinygptv.tracking.runs import git_state

    profile = context.profile.name
    reports = reports_folder(context.root, profile)
    package = context.input("quantize") / "model"
    digests = step_digests(context.root, profile)
    lineage = Lineage(
        profile=profile,
        git_sha=git_state(context.root)[0],
        digests=digests,
        quantized=read_json(reports / "quantize.json"),
        unquantized=read_json(reports / "evaluate.json"),
        run_id=context.run.wait_for_id(),
    )
    done = register_package(context.root, package, context.profile, lineage)
    context.run.metrics(
        {f"{row.check}".replace(" ", "_"): row.value for row in done.decision.rows if row.value is not None}
    )
    decision = context.staging / "gate.json"
    write_json(decision, done.decision.as_json())
    context.run.artifact(decision)
    context.run.tags(
        {
            "model.version": f"{done.name}/{done.version}",
            "model.aliases": ",".join(done.aliases),
            "gate.passed": str(done.decision.passed).lower(),
            "gate.reasons": "; ".join(done.decision.reasons) or "none",
        }
    )
    print(report(done))


def report(done: Registration) -> str:
    """One line for the user."""
    new = "registered" if done.created else "registered before"
    line = f"{done.name} version {done.version} ({new}), {', '.join(done.aliases)}"
    return line if done.decision.passed else f"{line}; not made champion: {'; '.join(done.decision.reasons)}"
