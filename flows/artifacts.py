"""What Prefect's page shows of a run under Artifacts: steps, results, the loss curves, and links into MLflow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlencode

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.graph import RunPlan
from flows.runner import StepOutcome
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import EIGHT_BITS, LOSS
from tinygptv.ground.files import read_json
from tinygptv.ground.folders import reports_folder, speed_file
from tinygptv.ground.names import STAGES
from tinygptv.results import markdown_results
from tinygptv.tracking import pages, rest

EVALUATED = ("evaluate", "quantize")
"""The steps whose reports are the results."""


def show(plan: RunPlan, outcomes: Mapping[str, StepOutcome], run_url: str) -> None:
    """Store the artifacts of a pipeline.

    Args:
        plan: what was to be done.
        outcomes: how each step ended that was begun.
        run_url: where the pipeline's MLflow run is looked at; empty where there is none.
    """
    _steps(plan, outcomes)
    _speeds(plan, outcomes)
    if any(step in outcomes and outcomes[step].ok for step in EVALUATED):
        _results(plan)
    if run_url and not all(outcome.skipped for outcome in outcomes.values()):  # else MLflow keeps no run of it
        text = "the pipeline's run in MLflow"
        create_link_artifact(key="mlflow-run", link=run_url, link_text=text, description="With those of the steps")
    evaluate, register = outcomes.get("evaluate"), outcomes.get("register")
    if evaluate is not None and evaluate.ok and evaluate.url and evaluate.run_id:
        create_image_artifact(
            key="loss", image_url=artifact_url(evaluate.url, evaluate.run_id, LOSS), description="Loss of the stages"
        )
    if register is not None and register.ok and register.url and register.run_id:
        _model(register.url, register.run_id)


def headline(plan: RunPlan) -> str:
    """The accuracies in one line, for the run's own page; empty where nothing was evaluated yet."""
    file = reports_folder(plan.root, plan.profile) / EIGHT_BITS
    if not file.is_file():
        return ""
    told = {name: "undefined" if value is None else f"{value:.4f}" for name, value in read_json(file).items()}
    return "8 bits: " + ", ".join(f"{name} {value}" for name, value in told.items())


def artifact_url(run_page: str, run_id: str, name: str) -> str:
    """Where MLflow's server hands out a file of a run.

    Args:
        run_page: where the run is looked at.
        run_id: its id.
        name: the file's name among the run's artifacts.
    """
    return f"{pages.server_of(run_page)}/get-artifact?{urlencode({'path': name, 'run_uuid': run_id})}"


def _steps(plan: RunPlan, outcomes: Mapping[str, StepOutcome]) -> None:
    rows = []
    for step in plan.steps:
        outcome = outcomes.get(step.name, StepOutcome(step=step.name, state="NotRun"))
        rows.append(
            {"step": step.name, "state": outcome.state, "seconds": outcome.seconds, "MLflow run": outcome.url or ""}
        )
    create_table_artifact(key="steps", table=rows, description=f"Steps of profile {plan.profile}")


def _speeds(plan: RunPlan, outcomes: Mapping[str, StepOutcome]) -> None:
    """How fast the stages were that this run trained; others say nothing of this machine."""
    files = {
        step: speed_file(plan.root, plan.profile, step)
        for step, outcome in outcomes.items()
        if step in STAGES and outcome.state == "Completed"
    }
    rows = [{"stage": step} | read_json(file) for step, file in files.items() if file.is_file()]
    if rows:
        create_table_artifact(key="speed", table=rows, description="Means over each stage; docs/speed.md says of what")


def _results(plan: RunPlan) -> None:
    try:
        table = markdown_results(plan.root, plan.profile)
    except DataError as error:
        get_run_logger().info("no table of results: %s", error)
        return
    create_markdown_artifact(key="results", markdown=table, description=f"Results of profile {plan.profile}")


def _model(run_page: str, run_id: str) -> None:
    """A link to the version that ``register`` made: its run says which. It needs MLflow's server to answer."""
    base = pages.server_of(run_page)
    try:
        tags = rest.ask(base, "runs/get", {"run_id": run_id}, os.environ)["run"]["data"].get("tags", [])
    except (OSError, ValueError, KeyError) as error:
        get_run_logger().info("no link to the model's version: MLflow at %s does not answer (%s)", base, error)
        return
    named = {tag["key"]: tag["value"] for tag in tags}.get("model.version", "")
    name, _, version = named.rpartition("/")
    if name:
        create_link_artifact(
            key="model-version",
            link=pages.of_version(base, name, version),
            link_text=f"{name} version {version}",
            description="What was registered",
        )
