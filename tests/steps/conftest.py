"""The steps' tests; the checkouts that they run in are made by tests/checkouts.py."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _same_process_state() -> Iterator[None]:
    """Seeds, threads and kernels as they were: other tests must not depend on these."""
    state = random.getstate()
    yield
    random.setstate(state)
    if "torch" in sys.modules:
        import torch

        torch.use_deterministic_algorithms(False)
