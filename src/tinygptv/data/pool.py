"""Pure functions of a block, run in processes beside the step: their number decides how fast it goes, nothing else.

A block is made again from its inputs wherever it was lost, so a process may be ended at any moment.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from safetensors import SafetensorError

from tinygptv.ground.children import CONTEXT, failure
from tinygptv.ground.errors import UserError, from_write_error, plain
from tinygptv.ground.processes import die_with_parent
from tinygptv.ground.startup import begin

In = TypeVar("In")
Out = TypeVar("Out")
Prepare = Callable[[], Callable[[In], Out]]


def run_blocks(prepare: Prepare[In, Out], jobs: Iterable[In], workers: int) -> Iterator[Out]:
    """The results of a function for every job, in the order in which they come.

    Args:
        prepare: called once in each process, returns the function of a job. It, the jobs and the results are pickled;
            what the function needs and no pickle can hold (a model, a connection) is made by it.
        jobs: what to do; the next one is taken when a process is free.
        workers: how many processes there are; 0: this one does it.

    Raises:
        UserError: what the function or ``prepare`` raised; the same, but for its traceback.
        PassingError: a process was killed from outside.
        RuntimeError: a bug; its traceback is on stderr.
    """
    if workers == 0:
        work = prepare()
        yield from map(work, jobs)
        return
    with ExitStack() as stack:
        busy: dict[Connection, BaseProcess] = {}
        for job in jobs:
            if len(busy) == workers:
                pipe, process, result = _next(busy)
                yield result
            else:
                pipe, process = stack.enter_context(_worker(prepare))
            with suppress(ConnectionError):  # it has ended; with what, it said before
                pipe.send(job)
            busy[pipe] = process
        while busy:
            yield _next(busy)[2]


def _next(busy: dict[Connection, BaseProcess]) -> tuple[Connection, BaseProcess, Any]:
    """Wait for a process to have done its job: it, no longer busy, and the result."""
    pipe = wait(list(busy))[0]
    assert isinstance(pipe, Connection)
    process = busy.pop(pipe)
    try:
        result = pipe.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise failure("a process of the step", process.exitcode or 0) from None
    if isinstance(result, UserError):
        raise result
    return pipe, process, result


@contextmanager
def _worker(prepare: Prepare[In, Out]) -> Iterator[tuple[Connection, BaseProcess]]:
    """A process that takes jobs from its pipe until the block is left, whatever it does then."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_serve, args=(theirs, prepare), daemon=True)
    resource_tracker.ensure_running()  # its start gives the signals free
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C, which reaches the whole group, is ours
    process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, former)
    theirs.close()  # or its end would not be seen here
    try:
        yield ours, process
    finally:
        process.terminate()
        process.join()
        ours.close()


def _serve(pipe: Connection, prepare: Prepare[In, Out]) -> None:
    """The life of a process."""
    parent = parent_process()
    assert parent is not None
    die_with_parent(parent.pid)
    begin()
    try:
        work = prepare()
        while True:
            pipe.send(work(pipe.recv()))
    except EOFError:
        return  # the parent has closed its end
    except UserError as error:
        pipe.send(plain(error))
    except (OSError, SafetensorError) as error:
        pipe.send(from_write_error(error, "reading or writing files"))
    sys.exit(1)
