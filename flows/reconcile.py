"""What a killed flow leaves in Prefect: a run that is `Running` for ever. It is marked as crashed.

Prefect learns how a flow ended from the flow alone; after SIGKILL, a power cut, or a server that was down at the flow's
end, nobody tells it. Nothing here decides what runs next: that do DVC and the steps' own records. A flow holds the lock
of a file named after its pipeline while it lives; a file whose lock is free belongs to a flow that is gone.

``python -m flows.reconcile FOLDER`` does it for the launcher, which does not import Prefect.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.states import Crashed

from flows.graph import RunPlan
from tinygptv.ground.marks import abandoned, held

MESSAGE = "the flow's process was killed, or could not reach the server at its end"


@contextmanager
def alive(plan: RunPlan) -> Iterator[None]:
    """Mark the flow runs of this block as those of the plan's pipeline, and this process as the one that does them.

    The mark stays where the block ends with an exception, even one by which Prefect closes the run: looking once more
    does no harm.
    """
    with held(plan.flow_mark):
        with tags(_tag(plan.pipeline)):
            yield
        plan.flow_mark.unlink()


def close_left_runs(folder: Path) -> None:
    """Mark the runs of flows that are gone as crashed, as well as their tasks."""
    for mark in abandoned(folder):
        with get_client(sync_client=True) as client:
            _close(client, _tag(mark.name))


def _close(client: SyncPrefectClient, tag: str) -> None:
    chosen = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
    for run in client.read_flow_runs(flow_run_filter=chosen):
        if run.state is None or not run.state.is_final():
            client.set_flow_run_state(run.id, Crashed(message=MESSAGE), force=True)
    for task in client.read_task_runs(flow_run_filter=chosen):
        if task.state is None or not task.state.is_final():
            client.set_task_run_state(task.id, Crashed(message=MESSAGE), force=True)


def _tag(pipeline: str) -> str:
    return f"pipeline.id={pipeline}"


if __name__ == "__main__":
    close_left_runs(Path(sys.argv[1]))
