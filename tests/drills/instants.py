"""Instants within a step at which a signal arrives: inside the computation, a write, a rename.

In a process that is about to run a step, ``Watch`` counts what happens at each place. Armed with an instant, it sends
the signal when the place's counter gets there. SIGKILL ends the process there: no handler, no flush.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

COMPUTING = ("forward", "backward", "optimizer")
"""Before the n-th operation of torch in this part of the training."""
WRITING = ("checkpoint", "other write")
"""Within a write: a part of the bytes lies on the disk. A checkpoint is a resume point or the result."""
CHANGING = ("flush", "rename", "spool", "folder")
"""Before, within or after the n-th fsync; rename; line of the spool; making, linking or removing of an entry."""
FOLDER_CALLS = ("mkdir", "unlink", "rmdir", "link")
PLACES = (*COMPUTING, *WRITING, *CHANGING)
STEP = "step"
"""Before or after the n-th step of the optimizer."""
WHERE_COMPILED = (STEP, *WRITING, *CHANGING)
"""Places of a stage whose blocks are compiled: their operations cannot be seen without ending that."""


@dataclass(frozen=True, slots=True)
class Instant:
    """Where to end: at which of a place's events, counted from 0, and how far into it."""

    place: str
    number: int
    part: float = 0.0
    """0 to 1: the part of the bytes that is written, or before (< 0.5) and after a change."""

    def __str__(self) -> str:
        return f"{self.place} {self.number} ({self.part:.3f})"


@dataclass(slots=True)
class Watch:
    """Counts the events of a process and ends it at the instant it is armed with."""

    root: Path
    """Only files below it count."""
    armed: Instant | None = None
    number: int = signal.SIGKILL
    """The signal. After one that can be caught, the same comes again at every further event that is no computation."""
    compiled: bool = False
    """Whether the stage's blocks are."""
    told: Path | None = None
    """Where to write, before the signal, how many optimizer steps this process has made, and the last point's step."""
    counts: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    saved: int = 0
    _phase: str = ""
    _acted: bool = False

    def install(self) -> None:
        """Take over what is to be watched, for the rest of this process."""
        if self.compiled:
            self._install_steps()
        else:
            self._install_torch()
        self._install_writes()
        for place, names in {"rename": ("rename", "replace"), "folder": FOLDER_CALLS}.items():
            for name in names:
                setattr(os, name, self._around(place, getattr(os, name)))

    def reached(self, place: str) -> Instant | None:
        """Count an event; the instant, if it is this one."""
        number = self.counts[place]
        self.counts[place] += 1
        if self._acted and place not in COMPUTING:
            signal.raise_signal(self.number)
        armed = self.armed
        return armed if armed is not None and (armed.place, armed.number) == (place, number) else None

    def act(self) -> None:
        """Send the signal to this process."""
        self._acted = True
        if self.told is not None:
            self.told.write_text(json.dumps([self.steps, self.saved]))
        os.kill(os.getpid(), self.number)

    def _around(self, place: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **how: Any) -> Any:
            instant = self.reached(place)
            if instant is not None and instant.part < 0.5:
                self.act()
            result = call(*arguments, **how)
            if place == "rename" and (name := Path(arguments[1]).name).startswith("step-"):
                self.saved = int(name.removeprefix("step-"))
            if instant is not None and instant.part >= 0.5:
                self.act()
            return result

        return watched

    def _install_torch(self) -> None:
        import torch
        from torch.nn.modules import module
        from torch.optim import optimizer
        from torch.utils._python_dispatch import TorchDispatchMode

        watch = self

        class Operations(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if watch._phase and watch.reached(watch._phase) is not None:
                    watch.act()
                return func(*args, **(kwargs or {}))

        backward = torch.Tensor.backward

        def phase(name: str) -> Callable[..., None]:
            def enter(*_: Any) -> None:
                watch._phase = name

            return enter

        def in_backward(*arguments: Any, **how: Any) -> None:
            watch._phase = "backward"
            backward(*arguments, **how)
            watch._phase = ""

        def stepped(*_: Any) -> None:
            watch._phase = ""
            watch.steps += 1

        torch.Tensor.backward = in_backward  # type: ignore[method-assign]
        module.register_module_forward_pre_hook(phase("forward"))
        optimizer.register_optimizer_step_pre_hook(phase("optimizer"))
        optimizer.register_optimizer_step_post_hook(stepped)
        Operations().__enter__()

    def _install_steps(self) -> None:
        from torch.optim import optimizer

        instant: Instant | None = None

        def begun(*_: Any) -> None:
            nonlocal instant
            instant = self.reached(STEP)
            if instant is not None and instant.part < 0.5:
                self.act()

        def made(*_: Any) -> None:
            self.steps += 1
            if instant is not None and instant.part >= 0.5:
                self.act()

        optimizer.register_optimizer_step_pre_hook(begun)
        optimizer.register_optimizer_step_post_hook(made)

    def _install_writes(self) -> None:
        """Files written by safetensors; files that ``tinygptv.ground.files`` writes aside; lines of the spool."""
        from safetensors import torch as safetensors

        fsync, write, save_file = os.fsync, os.write, safetensors.save_file

        def watched_save_file(tensors: Any, filename: Any, *arguments: Any, **how: Any) -> None:
            instant = self.reached("checkpoint")
            if instant is not None and self.number == signal.SIGKILL:
                content = safetensors.save(tensors, *arguments, **how)
                Path(filename).write_bytes(content[: int(instant.part * len(content))])
            if instant is not None:
                self.act()
            save_file(tensors, filename, *arguments, **how)

        def watched_fsync(handle: int) -> None:
            path = self._written(handle)
            if path is not None and path.name.endswith(".tmp"):  # nothing happens between the write and this flush,
                place = "checkpoint" if "/step-" in str(path) or "/.step-" in str(path) else "other write"
                instant = self.reached(place)
                if instant is not None and self.number == signal.SIGKILL:  # so a shorter file is as if within the write
                    os.ftruncate(handle, int(instant.part * os.fstat(handle).st_size))
                if instant is not None:
                    self.act()
            return self._around("flush", fsync)(handle)

        def watched_write(handle: int, content: bytes) -> int:
            if self._written(handle) is None:
                return write(handle, content)
            instant = self.reached("spool")
            if instant is not None and self.number == signal.SIGKILL:
                write(handle, content[: round(instant.part * len(content))])
            if instant is not None:
                self.act()
            return write(handle, content)

        safetensors.save_file = watched_save_file
        os.fsync, os.write = watched_fsync, watched_write  # type: ignore[assignment]

    def _written(self, handle: int) -> Path | None:
        """The path of a regular file below the root that is open for writing, or None."""
        if not stat.S_ISREG(os.fstat(handle).st_mode) or fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == 0:
            return None
        path = Path(f"/proc/self/fd/{handle}").readlink()
        return path if path.is_relative_to(self.root) else None


def kill_alone(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """SIGKILL a process, but not its children: none of them may outlive it."""
    children = psutil.Process(process.pid).children() if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(children, timeout=20)
    assert not any(child.is_running() for child in children)
