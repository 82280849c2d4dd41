"""Seeds, threads and kernels come from the configuration."""

from __future__ import annotations

import random
from importlib import metadata

import numpy as np
import pytest
import torch

from tinygptv.config import Runtime
from tinygptv.ground import runtime
from tinygptv.ground.errors import UserError


def settings(**changes):
    return Runtime(**{"device": "cpu", "dtype": "float32", "threads": 2, "deterministic": True} | changes)


@pytest.fixture(autouse=True)
def _same_process_state():
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def test_one_seed_sets_every_generator():
    def draw(seed):
        runtime.prepare(settings(), seed)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    first, again, other = draw(3), draw(3), draw(4)
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_threads_and_kernels():
    runtime.prepare(settings(threads=2), 0)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    runtime.prepare(settings(threads=2), 0, threads=1)
    assert torch.get_num_threads() == 1


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.resolve_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="set it to auto or cpu"):
        runtime.resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.resolve_device("auto") == torch.device("cuda")


def test_facts_of_the_machine_name_neither_host_nor_day():
    facts = runtime.environment()
    assert facts["torch"] == torch.__version__
    assert facts["processor"]
    assert {"python", "transformers", "bitsandbytes", "numpy", "machine", "cpu_capability"} <= facts.keys()
    assert "cores" not in facts  # threads are set; another machine of the kind gives the same bits
    assert facts == runtime.environment()
    assert runtime.software().items() <= (facts | {"torch": metadata.version("torch")}).items()
    assert not {"host", "node", "date", "time"} & facts.keys()
