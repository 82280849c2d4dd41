"""What Prefect's server does by itself: a run whose process is gone is marked as crashed.

A worker notices when a flow's process dies. Where both are killed, or the machine loses power, nobody would say so: the
run would stay `Running`, and hold the one place that its deployment has.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from tinygptv.services.environment import HEARTBEAT_SECONDS

SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
START_SECONDS = 120
"""From the worker's taking a run to its flow's first word; some seconds, unless the machine is very busy."""
ALIVE = ("heartbeat", "Running", "Cancelling")
"""Events after which another one must come."""


def apply() -> None:
    """Create the automations, or bring them up to date; one that the user switched off stays off."""
    with get_client(sync_client=True) as client:
        for wanted in (silent_runs(), lost_runs()):
            found = client.read_automations_by_name(wanted.name)
            if not found:
                client.create_automation(wanted)
            elif found[0].description != wanted.description:
                client.update_automation(found[0].id, wanted.model_copy(update={"enabled": found[0].enabled}))


def silent_runs() -> AutomationCore:
    """While a run is at work, something must be heard of it; otherwise it has crashed."""
    return _crashed_without_a_word(
        "silent runs have crashed",
        f"A flow says every {HEARTBEAT_SECONDS} s that it lives; after {SILENCE_SECONDS} s it does not.",
        ALIVE,
        SILENCE_SECONDS,
        f"no heartbeat for {SILENCE_SECONDS} s",
    )


def lost_runs() -> AutomationCore:
    """A run that the worker took must begin; where the worker was killed just then, it never does."""
    return _crashed_without_a_word(
        "runs that do not begin have crashed",
        f"A flow begins within {START_SECONDS} s of the worker's taking its run, or never.",
        ("Pending",),
        START_SECONDS,
        f"the flow did not begin within {START_SECONDS} s",
    )


def _crashed_without_a_word(
    name: str, description: str, after: tuple[str, ...], seconds: int, message: str
) -> AutomationCore:
    """Mark a run as crashed when nothing is heard of it for so long after one of these events.

    An end is any event, because it is called like its state, and a state may have a name of its own (`MendMe`). The
    description says all that can change: by it ``apply`` sees whether there is something to do.
    """
    return AutomationCore(
        name=name,
        description=description,
        trigger=EventTrigger(
            after={f"prefect.flow-run.{event}" for event in after},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
        ),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)],
    )
