"""Processes that share work as torchrun starts them: forked, so that nothing is imported again."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tests.drills.zygote import Ended, await_end, fork


def group(
    size: int, work: Callable[[int], int], stopped: tuple[int, float, int] | None = None, store: Any = None
) -> list[Ended]:
    """How processes end that have torchrun's variables; the launcher's store lives until all have ended.

    Args:
        size: how many.
        work: the rank → the exit code.
        stopped: a rank, after how many seconds it gets a signal, and which.
        store: that of a group before, as after a restart.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = store or TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    shared = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True"}

    def joined(rank: int) -> int:
        os.environ.update(shared, RANK=str(rank), LOCAL_RANK=str(rank))
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # in the place of pytest's
        return work(rank)

    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / str(rank) for rank in range(size)]
        started = [fork(partial(joined, rank), log) for rank, log in enumerate(logs)]
        victim, signals = (stopped[0], [stopped[1:]]) if stopped else (0, [])
        first = await_end(started[victim], logs[victim], signals)  # or it would be signalled when the others have ended
        pairs = enumerate(zip(started, logs, strict=True))
        return [first if rank == victim else await_end(child, log) for rank, (child, log) in pairs]
