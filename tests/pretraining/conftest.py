"""Tests of pretraining run on one thread."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors this small are faster on one thread, and do not wait for the machine's other work."""
    torch.set_num_threads(1)
