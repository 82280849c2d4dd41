"""Who makes the blocks of a step: so many processes of this machine, or of a Ray cluster. No bit depends on it.

It is said by the environment, never by a profile: a machine's own setting must not make DVC run a step again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tinygptv.ground.errors import UserError

PROCESSES, RUNNER = "TINYGPTV_PROCESSES", "TINYGPTV_RUNNER"
RUNNERS = ("local", "ray")


@dataclass(frozen=True, slots=True)
class Crew:
    """Processes beside the step."""

    size: int = 0
    """How many; 0: the step's own process does it. On Ray, 0 stands for as many as the cluster has room for."""
    gpus: tuple[str, ...] = ()
    """One for each of them, as ``CUDA_VISIBLE_DEVICES`` names it; empty where they compute on the CPU."""
    ray: bool = False
    """Whether they are a Ray cluster's: where ``RAY_ADDRESS`` says, otherwise one of this machine's own."""

    @property
    def beside(self) -> bool:
        """Whether there are processes beside the step's own."""
        return self.ray or self.size > 0


def processes_asked(environment: Mapping[str, str] = os.environ) -> int | None:
    """How many processes the environment asks for; None: it does not say.

    Raises:
        UserError: it asks for no whole number above 0.
    """
    asked = environment.get(PROCESSES, "")
    if not asked:
        return None
    if not (asked.isascii() and asked.isdigit() and int(asked)):
        raise UserError(f"{PROCESSES} is {asked!r}; set it to a whole number above 0, or to nothing")
    return int(asked)


def crew_here(own: int = 0, device: str = "cpu", environment: Mapping[str, str] = os.environ) -> Crew:
    """Who makes blocks on this machine.

    Args:
        own: so many processes are there where the environment asks for none, and no GPU is used.
        device: ``cpu``, or ``cuda`` where the blocks need a GPU: each process has one of its own.
        environment: the caller's.

    Raises:
        UserError: the environment asks for what there is not.
    """
    asked, runner = processes_asked(environment), environment.get(RUNNER) or RUNNERS[0]
    if runner not in RUNNERS:
        raise UserError(f"{RUNNER} is {runner!r}; set it to one of {', '.join(RUNNERS)}")
    if runner == "ray":
        return Crew(asked or 0, ("0",) if device == "cuda" else (), ray=True)
    if device != "cuda":
        return Crew(0 if asked == 1 else asked or own)
    gpus = visible_gpus(environment)[:asked]
    return Crew(len(gpus), gpus) if len(gpus) > 1 else Crew()


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs of this machine that may be used, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named or map(str, range(torch.cuda.device_count())))
