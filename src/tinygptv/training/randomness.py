"""The state of every random generator of the process, as tensors: what a resume point has to hold."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def random_state() -> dict[str, torch.Tensor]:
    """State of torch's generators (CPU and, where there is one, CUDA), Python's and NumPy's."""
    import numpy as np
    import torch

    _, words, _ = random.getstate()  # gauss() keeps a spare number in the third; nothing here draws from it
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict) and numpy_state["bit_generator"] == "MT19937"
    twister = numpy_state["state"]
    state = {
        "cpu": torch.get_rng_state(),
        "python": torch.tensor(words),
        "numpy": torch.tensor([*twister["key"].tolist(), twister["pos"]]),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Put every generator where ``random_state`` found it."""
    import numpy as np
    import torch

    random.setstate((3, tuple(state["python"].tolist()), None))
    *keys, position = state["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, 0, 0.0))
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
