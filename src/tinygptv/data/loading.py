"""Batches made ahead of time by worker processes, in the order that the loop asks for.

What a step gets is a function of its number alone, so the number of workers decides how fast it comes and nothing else,
and going on at a later step is a seek.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from tinygptv.ground.errors import UserError, from_write_error, plain
from tinygptv.ground.processes import die_with_parent

if TYPE_CHECKING:
    from tinygptv.config import Loader

T = TypeVar("T")


def load(make: Callable[[int], T], first: int, stop: int, settings: Loader) -> Iterator[T]:
    """``make(first)`` … ``make(stop - 1)``, in this order.

    Args:
        make: a pure function of the step; with workers it runs in forked processes.
        first: the first step, counted from 0.
        stop: the step after the last one.
        settings: the section ``loader`` of the configuration.

    Raises:
        UserError: a step's records or features are damaged or cannot be read, also where a worker found it.
    """
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Made(Dataset[T | UserError]):
        """The function as a data set."""

        def __getitem__(self, step: int) -> T | UserError:
            try:
                return make(step)
            except UserError as error:  # torch would raise it again with the worker's traceback in its text
                return plain(error)
            except OSError as error:
                return from_write_error(error, f"reading what step {step + 1} trains on")

    batches = DataLoader(
        Made(),
        batch_size=None,
        sampler=range(first, stop),
        num_workers=settings.workers,
        prefetch_factor=settings.prefetch if settings.workers else None,
        multiprocessing_context="fork" if settings.workers else None,
        worker_init_fn=_obey_the_parent,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # or the loader would draw from torch's own
    )
    for batch in batches:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def _obey_the_parent(_: int) -> None:
    """End with the parent; Ctrl-C, which reaches the whole group, is the parent's: it saves its state first."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_it_is(sample: T) -> T:
    return sample
