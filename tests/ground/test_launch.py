"""A stage that DVC calls is shared among processes where the environment asks for some, and only there."""

from __future__ import annotations

import pytest

from tinygptv.ground.errors import UserError
from tinygptv.ground.launch import launch, processes_to_launch


@pytest.mark.parametrize(
    ("environment", "processes"),
    [
        ({}, 0),
        ({"TINYGPTV_PROCESSES": "1"}, 0),
        ({"TINYGPTV_PROCESSES": "4"}, 4),
        ({"TINYGPTV_PROCESSES": "4", "TORCHELASTIC_RUN_ID": "a"}, 0),
        ({"TINYGPTV_PROCESSES": "4", "TINYGPTV_RUNNER": "ray"}, 4),
    ],
)
def test_processes_are_started_once_and_on_this_machine(environment, processes):
    assert processes_to_launch(environment) == processes
    if environment:
        with pytest.raises(UserError, match="TINYGPTV_PROCESSES is 'no'"):
            processes_to_launch(environment | {"TINYGPTV_PROCESSES": "no"})


@pytest.mark.drills
@pytest.mark.drill(1, "stages shared by processes that the step starts itself", trials=1)
def test_the_exit_code_is_the_step_s(capfd):
    assert launch(["no-such-step"], 2) == 2
    assert "invalid choice: 'no-such-step'" in capfd.readouterr().err
