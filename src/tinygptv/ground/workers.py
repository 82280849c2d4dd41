"""The processes that share a step: one, or those that torchrun started. Steps know of torchrun through this alone.

They agree on what each of them needs to know, and exchange sums (``training/sums.py``); the first, the main one, holds
the lock, writes and records. When one ends for whatever reason, the others cannot go on and end, too: the first to end
says why, and all leave with its exit code.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.ground.differences import changed_keys
from tinygptv.ground.errors import EXIT_PASSING, LostProcessError, UserError, brief
from tinygptv.ground.files import canonical
from tinygptv.ground.processes import Interrupted
from tinygptv.ground.tables import some

if TYPE_CHECKING:
    import torch

SECONDS_OF_SILENCE = 1800
"""How long the others wait for one that lives and does not answer: it may be writing, or compiling."""
ENDED = "ended"
"""Key of the common store: rank, exit code and line of the first process that ended before its time."""
SIGNALLED = 128
"""Exit codes above it are of a signal."""


class PeerError(UserError):
    """What ended another process of the step."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.exit_code = code


@dataclass(frozen=True, slots=True)
class Workers:
    """This process and those beside it."""

    rank: int = 0
    size: int = 1
    store: Any = None
    """``torch.distributed.Store`` of the launcher, which outlives the processes; None for one process."""

    @classmethod
    def join(cls) -> Workers:
        """Meet the other processes, where torchrun started this one beside some.

        Raises:
            LostProcessError: one of them does not come.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
            return cls()
        import torch
        from torch import distributed
        from torch.distributed.rendezvous import rendezvous

        wait = timedelta(seconds=SECONDS_OF_SILENCE)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _together():
            store, rank, size = next(rendezvous("env://", timeout=wait))
            shared = distributed.PrefixStore(_meet(store, rank, size), store)  # type: ignore[attr-defined]
            distributed.init_process_group(backend, store=shared, rank=rank, world_size=size, timeout=wait)
        return cls(rank, size, shared)

    @property
    def is_main(self) -> bool:
        """Whether this is the one that holds the lock, writes and records."""
        return self.rank == 0

    def own_device(self, device: torch.device) -> torch.device:
        """The device of this process: each process of a machine has a GPU of its own.

        Raises:
            UserError: there are more processes than GPUs.
        """
        import torch

        if self.size == 1 or device.type != "cuda":
            return device
        here, number = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
        if here > torch.cuda.device_count():
            raise UserError(
                f"{here} processes on this machine share {torch.cuda.device_count()} GPUs; start one for each, "
                f"with `torchrun --nproc-per-node {torch.cuda.device_count()}`"
            )
        torch.cuda.set_device(number)
        return torch.device("cuda", number)

    def share(self, parts: int, rank: int | None = None) -> range:
        """Which parts of a whole are this process's, or another's: neighbours, as many for each, or one less."""
        rank = self.rank if rank is None else rank
        each, more = divmod(parts, self.size)
        first = rank * each + min(rank, more)
        return range(first, first + each + (rank < more))

    def numbers(self, number: int) -> list[int]:
        """The whole numbers that the processes name, by rank."""
        if self.size == 1:
            return [number]
        import torch

        return [int(found) for found in self.gather(torch.tensor([number])).flatten()]

    def tell(self, text: str) -> list[str]:
        """The texts that the processes name, by rank."""
        if self.size == 1:
            return [text]
        import torch

        content = text.encode()
        lengths = self.numbers(len(content))
        padded = torch.frombuffer(bytearray(content.ljust(max(1, *lengths), b"\0")), dtype=torch.uint8)
        rows = self.gather(padded)
        return [bytes(row[:length].tolist()).decode() for row, length in zip(rows, lengths, strict=True)]

    def barrier(self) -> None:
        """Wait until all are here."""
        self.numbers(0)

    def agree_to_stop(self, number: int | None) -> int | None:
        """The signal that any of the processes got, so that all stop at one place; None for none."""
        return max(self.numbers(number or 0)) or None

    def must_agree(self, facts: Mapping[str, Any]) -> None:
        """Refuse to go on where the processes see other things, such as on another kind of machine.

        Raises:
            UserError: they do.
        """
        told = [json.loads(text) for text in self.tell(canonical(facts))]
        for rank, others in enumerate(told):
            if differing := changed_keys(told[0], others):
                raise UserError(
                    f"processes 0 and {rank} of {self.size} differ in {some([*differing.values()])}; all need the same "
                    "kind of machine, code, packages and data, and a state folder that they share"
                )

    def gather(self, mine: torch.Tensor) -> torch.Tensor:
        """The tensors that the processes hold, of one shape, by rank [size, ...]."""
        from torch import distributed

        if self.size == 1:
            return mine[None]
        found = mine.new_empty(self.size, *mine.shape)
        with _together(self.store):
            distributed.all_gather(list(found), mine.contiguous())
        return found

    def exchange(
        self, mine: torch.Tensor | None, senders: Sequence[int], slice_size: int, device: torch.device
    ) -> list[torch.Tensor]:
        """This process's slices of what some of the processes hold.

        Args:
            mine: a slice for each process, one after the other; None where this process is no sender.
            senders: ranks, in their order.
            slice_size: numbers of a slice.
            device: where the slices shall lie.

        Returns:
            A float32 tensor [slice_size] for each sender.
        """
        import torch
        from torch import distributed

        mine = torch.empty(0, device=device) if mine is None else mine
        found = torch.empty(len(senders), slice_size, device=device)
        sent = [slice_size if len(mine) else 0] * self.size
        come = [slice_size if rank in senders else 0 for rank in range(self.size)]
        with _together(self.store):
            distributed.all_to_all_single(found.flatten(), mine, come, sent)
        return list(found)

    def first_to_end(self, code: int, line: str | None) -> int | None:
        """Say that this process ends before its time, and why: the code of the first to say so, None if this is it."""
        if self.store is None:
            return None
        mine = json.dumps([self.rank, code, line])
        try:
            rank, first, _ = json.loads(self.store.compare_set(ENDED, "", mine))
        except RuntimeError:  # the launcher has gone, too
            return None
        return None if rank == self.rank else int(first)

    def leave(self) -> None:
        """Part from the others, in the end."""
        if self.size > 1:
            from torch import distributed

            distributed.destroy_process_group()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Within this block only the main process prints: the others would say the same."""
        with ExitStack() as stack:
            if not self.is_main:
                nowhere = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(redirect_stdout(nowhere))
                stack.enter_context(redirect_stderr(nowhere))
            yield


ALONE = Workers()
"""A process that shares nothing."""


def _meet(store: Any, rank: int, size: int) -> str:
    """A name for the keys of this group alone.

    After a restart the store may still hold those of the group before, and processes of several machines count
    restarts each for themselves: the main process tells the name to those that ask now.
    """
    if rank:
        question = uuid.uuid4().hex
        store.set(f"tinygptv/asks/{rank}", question)
        name = str(store.get(f"tinygptv/told/{question}").decode())
        store.set(f"{name}/has/{rank}", "")
        return name
    name, missing = f"tinygptv/{uuid.uuid4().hex}", set(range(1, size))
    deadline = time.monotonic() + SECONDS_OF_SILENCE
    while missing:
        for asking in missing:
            if store.check([key := f"tinygptv/asks/{asking}"]):
                store.set(f"tinygptv/told/{store.get(key).decode()}", name)
        missing = {other for other in missing if not store.check([f"{name}/has/{other}"])}
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {some([*map(str, sorted(missing))])} do not come")
        time.sleep(0.02)
    return name


@contextmanager
def _together(store: Any = None) -> Iterator[None]:
    """Turn what torch raises where another process has gone into what ended that one, if it said so.

    Raises:
        PeerError: it ended with a line.
        Interrupted: it was stopped by a signal.
        LostProcessError: it said nothing, or has lost one itself.
    """
    try:
        yield
    except RuntimeError as error:
        try:
            said = json.loads(store.get(ENDED)) if store is not None and store.check([ENDED]) else None
        except RuntimeError:  # the launcher has gone, too
            said = None
        if said is None:
            raise LostProcessError(
                f"another process of this step has ended or does not answer ({brief(error, 80)}); run the command "
                "again to go on"
            ) from error
        _, code, line = said
        if code > SIGNALLED:
            raise Interrupted(code - SIGNALLED) from error
        if code == EXIT_PASSING:  # that one has lost a third
            raise LostProcessError(line) from error
        raise PeerError(code, line or "another process of this step has a bug") from error
