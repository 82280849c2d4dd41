"""Who makes blocks is said by the environment and the machine, and by nothing that DVC sees."""

from __future__ import annotations

import pytest
import torch

from tinygptv.ground.crew import Crew, crew_here
from tinygptv.ground.errors import UserError


@pytest.mark.parametrize(
    ("environment", "own", "crew"),
    [
        ({}, 0, Crew()),
        ({}, 3, Crew(3)),
        ({"TINYGPTV_PROCESSES": ""}, 3, Crew(3)),
        ({"TINYGPTV_PROCESSES": "1"}, 3, Crew()),
        ({"TINYGPTV_PROCESSES": "4"}, 0, Crew(4)),
        ({"TINYGPTV_PROCESSES": "2", "TINYGPTV_RUNNER": "ray"}, 0, Crew(2, ray=True)),
        ({"TINYGPTV_RUNNER": "ray"}, 3, Crew(0, ray=True)),
    ],
)
def test_processes_of_a_machine_without_a_gpu(environment, own, crew):
    found = crew_here(own, environment=environment)
    assert found == crew and found.beside == (crew != Crew())


@pytest.mark.parametrize(
    ("environment", "gpus"),
    [
        ({}, ("0", "1", "2")),
        ({"TINYGPTV_PROCESSES": "2"}, ("0", "1")),
        ({"TINYGPTV_PROCESSES": "8"}, ("0", "1", "2")),
        ({"TINYGPTV_PROCESSES": "1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "5, GPU-7"}, ("5", "GPU-7")),
        ({"CUDA_VISIBLE_DEVICES": "5"}, ()),
    ],
)
def test_each_process_has_a_gpu_of_its_own_and_one_gpu_needs_no_process(environment, gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert crew_here(4, "cuda", environment) == Crew(len(gpus), gpus)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TINYGPTV_PROCESSES": "0"}, "TINYGPTV_PROCESSES is '0'; set it to a whole number above 0"),
        ({"TINYGPTV_PROCESSES": "two"}, "TINYGPTV_PROCESSES is 'two'"),
        ({"TINYGPTV_RUNNER": "spark"}, "TINYGPTV_RUNNER is 'spark'; set it to one of local, ray"),
    ],
)
def test_what_there_is_not_is_refused(environment, said):
    with pytest.raises(UserError, match=said):
        crew_here(environment=environment)
