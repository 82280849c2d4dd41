"""The Prefect side: one task a step, run one after the other in the main thread, and a table at the end.

The launcher (``flows/pipeline.py``) starts this module as a process of its own, with the environment already isolated.
Whoever imports it imports Prefect.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from dataclasses import replace

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows import artifacts, reconcile
from flows.graph import RunPlan, Step
from flows.naming import run_name
from flows.parent_run import parent_run
from flows.runner import StepOutcome, run_step, save_outcomes
from tinygptv.ground.startup import begin, outlive_readers

for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).propagate = False  # to the server only: the terminal shows the lines themselves
# A server that is down for a while: each event that has to wait is shown whole, though it arrives in the end.
logging.getLogger("prefect._internal.concurrency").setLevel(logging.CRITICAL)


@flow(name="pipeline", flow_run_name=run_name, log_prints=False, persist_result=False)
def pipeline(plan: RunPlan) -> State:
    """Run the plan's steps in order and stop at the first that fails."""
    return carry_out(plan)


def carry_out(plan: RunPlan) -> State:
    """What a flow does with a plan; its steps become tasks of the flow that calls it."""
    outlive_readers()
    os.environ["TINYGPTV_PIPELINE_ID"] = plan.pipeline
    os.environ["PREFECT_FLOW_RUN_ID"] = str(flow_run.get_id() or "")
    outcomes: dict[str, StepOutcome] = {}
    save_outcomes(plan, outcomes)
    # Tasks without the flow's tag (flows/reconcile.py): Prefect asks the server before each tagged one whether the tag
    # is limited, which takes two seconds where the last answer is older than five.
    with parent_run(plan) as parent, TagsContext(current_tags=set()):
        states: dict[str, State] = {}
        for step in plan.steps:
            if not step.outputs and parent.repeats(step.name):
                plan = plan.model_copy(update={"force": (*plan.force, step.name)})
            outcomes[step.name] = StepOutcome(step=step.name, state="Running")
            save_outcomes(plan, outcomes)
            states[step.name] = _run(plan, step, outcomes, [states[up] for up in step.upstream if up in states])
            outcomes[step.name] = ended(outcomes[step.name], states[step.name])
            save_outcomes(plan, outcomes)
            if not outcomes[step.name].ok:
                break
    artifacts.show(plan, outcomes, parent.url)
    failed = [outcome for outcome in outcomes.values() if not outcome.ok]
    if failed:
        return Failed(message=f"{failed[0].step}: {failed[0].reason}")
    return Completed(message="; ".join(filter(None, (f"{len(outcomes)} steps", artifacts.headline(plan)))))


def ended(outcome: StepOutcome, state: State) -> StepOutcome:
    """The outcome of a step whose task is over; where the task broke off, the reason is what Prefect knows of it."""
    if outcome.state != "Running":
        return outcome
    return replace(outcome, state="Failed", reason=state.message or f"its task ended as {state.name}")


def _run(plan: RunPlan, step: Step, outcomes: dict[str, StepOutcome], upstream: list[State]) -> State:
    """One Prefect task with the step's own retries."""

    @task(
        name=step.name,
        task_run_name=step.name,
        retries=step.retries,
        retry_delay_seconds=step.retry_delay,
        retry_condition_fn=lambda task, run, state: outcomes[step.name].can_retry,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    def repro() -> State:
        outcome = outcomes[step.name] = run_step(plan, step, get_run_logger().info)
        if not outcome.ok:
            return Failed(message=outcome.reason)  # a state, because exceptions would be stored as pickles
        return Completed(name=outcome.state, message=outcome.url or "")

    result: State = repro(wait_for=upstream, return_state=True)
    return result


def main() -> int:
    """Run the plan given as JSON on the command line."""
    # Prefect passes SIGTERM on after marking the run as crashed; its temporary server is stopped by an exit handler,
    # which only a normal exit calls.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    plan = RunPlan.model_validate_json(sys.argv[1])
    with reconcile.alive(plan):
        reconcile.close_left_runs(plan.flow_mark.parent)
        state = pipeline(plan, return_state=True)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    begin()
    sys.exit(main())
