"""Parts of a step in processes of their own: what they fail with is what the step ends with."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tinygptv.ground.children import child
from tinygptv.ground.errors import DataError, NotFiniteError, PassingError, UserError


def mendable() -> None:
    raise DataError("a file is damaged")


def not_finite() -> None:
    raise NotFiniteError("logits are not finite")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def for_later() -> None:
    raise PassingError("later")


def of_a_disk() -> None:
    Path("/proc/self/mem").read_bytes()  # EIO


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def crashed() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def wrong() -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("part", "kind", "code"),
    [
        (mendable, UserError, 2),
        (not_finite, NotFiniteError, 1),
        (killed, PassingError, 75),
        (for_later, PassingError, 75),
        (of_a_disk, PassingError, 75),
        (stopped, UserError, 2),
        (crashed, RuntimeError, None),
        (wrong, RuntimeError, None),
    ],
)
def test_a_step_fails_as_its_part_did(part, kind, code, capfd):
    with pytest.raises(kind) as caught, child(part):
        pass
    assert type(caught.value) is kind
    assert getattr(caught.value, "exit_code", None) == code
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == {wrong: len(lines), killed: 0, stopped: 0, crashed: 0}.get(part, 1)
