"""Pure functions of a block, run in processes beside the step: their number decides how fast it goes, nothing else.

A block is made again from its inputs wherever it was lost, so a process may be ended at any moment.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from safetensors import SafetensorError

from tinygptv.ground.children import CONTEXT, failure
from tinygptv.ground.crew import Crew
from tinygptv.ground.errors import UserError, from_write_error, plain
from tinygptv.ground.processes import die_with_parent
from tinygptv.ground.startup import begin

In = TypeVar("In")
Out = TypeVar("Out")
Prepare = Callable[[], Callable[[In], Out]]


def map_blocks(prepare: Prepare[In, Out], jobs: Iterable[In], crew: Crew) -> Iterator[Out]:
    """``run_blocks`` by whomever the environment says: the two homes of the map differ in nothing but where they work.

    Raises:
        UserError: also where the cluster is not there, or has other code or another kind of machine.
    """
    if crew.ray:
        from tinygptv.ground.ray_cluster import run_on_ray

        return run_on_ray(prepare, jobs, crew)
    return run_blocks(prepare, jobs, crew.size, crew.gpus)


def run_blocks(prepare: Prepare[In, Out], jobs: Iterable[In], workers: int, gpus: Sequence[str] = ()) -> Iterator[Out]:
    """The results of a function for every job, in the order in which they come.

    A process that is killed from outside costs its job, which another one begins anew; a job that two processes were
    killed with is given up.

    Args:
        prepare: called once in each process, returns the function of a job. It, the jobs and the results are pickled;
            what the function needs and no pickle can hold (a model, a connection) is made by it.
        jobs: what to do; the next one is taken when a process is free.
        workers: how many processes there are; 0: this one does it.
        gpus: the only GPU that each of them sees, as ``CUDA_VISIBLE_DEVICES`` names it; none: they see all.

    Raises:
        UserError: what the function or ``prepare`` raised; the same, but for its traceback.
        PassingError: processes were killed from outside.
        RuntimeError: a bug; its traceback is on stderr.
    """
    if workers == 0:
        work = prepare()
        yield from map(work, jobs)
        return
    with ExitStack() as stack:
        busy: dict[Connection, _Worker] = {}
        for job in jobs:
            if len(busy) == workers:
                worker, result = _next(busy)
                yield result
            else:
                worker = _Worker(prepare, gpus[len(busy)] if gpus else None)
                stack.callback(worker.end)
            worker.give(job)
            busy[worker.pipe] = worker
        while busy:
            yield _next(busy)[1]


def _next(busy: dict[Connection, _Worker]) -> tuple[_Worker, Any]:
    """Wait for a process to have done its job: it, no longer busy, and the result."""
    while True:
        pipe = wait(list(busy))[0]
        assert isinstance(pipe, Connection)
        worker = busy.pop(pipe)
        try:
            result = pipe.recv()
        except (EOFError, ConnectionError):
            worker.begin_anew()
            busy[worker.pipe] = worker
            continue
        if isinstance(result, UserError):
            raise result
        return worker, result


class _Worker:
    """A process that takes jobs from its pipe, and the one that takes its place when it was killed."""

    def __init__(self, prepare: Callable[[], Any], gpu: str | None) -> None:
        """Start it."""
        self._prepare, self._gpu = prepare, gpu
        self._job: Any = None
        self._killed = False
        self._start()

    def give(self, job: Any) -> None:
        """Let it do a job."""
        self._job, self._killed = job, False
        self._send()

    def begin_anew(self) -> None:
        """Let another process do the job of the one that has ended.

        Raises:
            Exception: it was not killed from outside, or was the second one with this job.
        """
        self._process.join()
        code = self._process.exitcode or 0
        if code != -signal.SIGKILL or self._killed:
            raise failure("a process of the step", code)
        print("a process of the step was killed from outside: its work is begun anew", file=sys.stderr, flush=True)
        self.end()
        self._killed = True
        self._start()
        self._send()

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.terminate()
        self._process.join()
        self.pipe.close()

    def _start(self) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_serve, args=(theirs, self._prepare, self._gpu), daemon=True)
        resource_tracker.ensure_running()  # its start gives the signals free
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C reaches the whole group, is ours
        self._process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
        theirs.close()  # or its end would not be seen here

    def _send(self) -> None:
        with suppress(ConnectionError):  # it has ended; with what, it said before
            self.pipe.send(self._job)


def _serve(pipe: Connection, prepare: Prepare[In, Out], gpu: str | None) -> None:
    """The life of a process."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA is looked for: torch is imported at most
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
