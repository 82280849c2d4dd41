"""The pipeline as a deployment: on a schedule, or by a button in Prefect's page, with the parameters as a form.

It never works in the user's files: DVC runs in a git worktree of its own, on the last commit, with the checkout's cache
and MLflow database. Whoever imports it imports Prefect; a deployment names ``flows/scheduled.py:nightly``.
"""

from __future__ import annotations

import os
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Failed

from flows.command import MEND, machine
from flows.flow import carry_out
from flows.naming import ProcessCount, ProfileChoice, RunnerChoice, StepChoice, StepsChoice, run_name
from flows.pipeline import close_parent_run, make_plan
from flows.runner import read_outcomes
from tinygptv.ground.errors import UserError
from tinygptv.ground.folders import find_root

STOPPED = 143
"""What a stopped flow ends with, as shells report it."""


@flow(name="pipeline", flow_run_name=run_name, log_prints=False, persist_result=False)
def nightly(
    profile: ProfileChoice = None,
    from_step: StepChoice = None,
    to_step: StepChoice = None,
    force: StepsChoice = None,
    processes: ProcessCount = None,
    runner: RunnerChoice = None,
) -> State:
    """Run the pipeline on the last commit.

    Args:
        profile: a name of `configs/`; none for that of `params.yaml`.
        from_step: this step and all that depends on it; none for all.
        to_step: this step and all it depends on; none for all.
        force: steps to run though nothing changed.
        processes: how many share a step's work; none for the machine's own: one, and one for each of several GPUs.
        runner: where they are, but for those of the four stages: `local`, or a `ray` cluster; none for this machine.
    """
    try:
        root, say = find_root(Path.cwd()), get_run_logger().info
        os.environ |= machine(processes, runner)
        plan = make_plan(root, profile, from_step, to_step, force or [], nightly=True, say=say)
    except UserError as error:
        return Failed(name=MEND, message=str(error))
    code = STOPPED
    try:
        state = carry_out(plan)
        code = 0 if state.is_completed() else 1
        return state
    finally:
        close_parent_run(plan, read_outcomes(plan), code, os.environ)
