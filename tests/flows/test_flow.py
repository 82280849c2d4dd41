"""What becomes of a step whose task breaks off."""

from __future__ import annotations

import pytest
from prefect.states import Completed, Crashed, Failed

from flows.flow import ended
from flows.runner import StepOutcome

SAID = "Task run encountered an exception OSError: 32"
RUNNING = StepOutcome(step="shards", state="Running")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (Failed(message=SAID), SAID),
        (Failed(message=None), "its task ended as Failed"),
        (Crashed(message=""), "its task ended as Crashed"),
    ],
)
def test_a_task_that_broke_off_says_why(state, reason):
    found = ended(RUNNING, state)
    assert (found.state, found.reason, found.ok) == ("Failed", reason, False)


def test_a_step_that_said_how_it_ended_is_believed():
    done = StepOutcome(step="shards", state="Cached")
    assert ended(done, Completed()) == done
