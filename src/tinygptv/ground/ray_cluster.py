"""Blocks on a Ray cluster: the functions of ``data/pool.py``, in processes of any machine that Ray has.

The machines share the checkout and what it names, at equal paths. What is sent are names of functions and plain data;
nothing pickled is written. Without ``RAY_ADDRESS`` there is a cluster of this process alone: on loopback, with a token
that nobody else has, without a dashboard; it ends with the process.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tinygptv.ground import runtime
from tinygptv.ground.crew import Crew
from tinygptv.ground.differences import changed_keys
from tinygptv.ground.errors import PassingError, UserError, brief, from_write_error, plain
from tinygptv.ground.files import canonical, sha256_file
from tinygptv.ground.startup import begin
from tinygptv.ground.tables import some

ADDRESS = "RAY_ADDRESS"
SIGNALS_SECONDS = 0.5
"""So long a signal waits: Ray looks at none while it waits."""
SOURCE = Path(__file__).resolve().parents[1]


def run_on_ray(prepare: Callable[[], Callable[[Any], Any]], jobs: Iterable[Any], crew: Crew) -> Iterator[Any]:
    """The results of a function for every job, in the order in which they come.

    A process that is gone, with its machine or alone, costs its job, which another one begins anew; a job that two
    processes went with is given up.

    Args:
        prepare: as of ``data/pool.py``.
        jobs: what to do; the next one is taken when a process is free.
        crew: how many processes, and whether each needs a GPU.

    Raises:
        UserError: what the function raised; Ray is not installed; a machine has other code, packages or processors.
        PassingError: the cluster does not answer, or processes were killed from outside.
        RuntimeError: a bug; its traceback is on stderr.
    """
    ray = _connected(crew.size)
    kind = "GPU" if crew.gpus else "CPU"
    room = int(ray.cluster_resources().get(kind, 0))  # where others use it, too, processes wait for their places
    size = min(crew.size or room, room)
    if not size:
        raise UserError(f"the Ray cluster has no {kind}, and the step needs one; see `ray status`")
    place = ray.remote(num_cpus=1, num_gpus=1 if crew.gpus else 0)(BlockMaker)
    expected, busy, places = facts(gpu=bool(crew.gpus)), {}, []

    def another() -> Any:
        places.append(place.remote(prepare, expected, gpu=bool(crew.gpus)))
        return places[-1]

    def give(to: Any, job: Any, killed: bool = False) -> None:
        busy[to.make.remote(job)] = to, job, killed

    def take() -> tuple[Any, Any]:
        while True:
            done = _wait(ray, list(busy))
            by, job, killed = busy.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayActorError:
                if killed:
                    raise PassingError("a job was killed twice; memory may be short, run the command again") from None
                print("a process of the Ray cluster is gone: its work is begun anew", file=sys.stderr, flush=True)
                give(another(), job, killed=True)
                continue
            except ray.exceptions.RayTaskError as error:
                print(error, file=sys.stderr, flush=True)
                raise RuntimeError("a process of the Ray cluster has failed; its traceback is above") from None
            if isinstance(result, UserError):
                raise result
            return by, result

    try:
        for job in jobs:
            if len(busy) < size:
                give(another(), job)
                continue
            free, result = take()
            give(free, job)
            yield result
        while busy:
            yield take()[1]
    finally:
        for one in places:
            ray.kill(one)


def _wait(ray: Any, busy: list[Any]) -> Any:
    """The first of these that is done; a signal is heard meanwhile."""
    while True:
        try:
            done = ray.wait(busy, timeout=SIGNALS_SECONDS)[0]
        except SystemError as error:  # what a signal's handler raises, Ray's compiled code returns with a result
            if error.__cause__ is None:
                raise
            raise error.__cause__ from None
        if done:
            return done[0]


@dataclass(repr=False)
class BlockMaker:
    """The life of a process of the cluster."""

    prepare: Callable[[], Callable[[Any], Any]]
    expected: dict[str, Any]
    gpu: bool
    work: Callable[[Any], Any] | None = None

    def make(self, job: Any) -> Any:
        """The result of a job, or the UserError that it ended with."""
        try:
            if self.work is None:
                begin()
                must_be_alike(self.expected, facts(gpu=self.gpu))
                self.work = self.prepare()
            return self.work(job)
        except UserError as error:
            return plain(error)
        except (OSError, SafetensorError) as error:
            return from_write_error(error, "reading or writing files")


def must_be_alike(expected: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse to work where a machine is not like that of the step.

    Raises:
        UserError: it is not.
    """
    if differing := changed_keys(expected, here):
        raise UserError(
            f"a machine of the Ray cluster differs in {some([*differing.values()])}; all need the same code, packages "
            "and kind of machine"
        )


def facts(*, gpu: bool) -> dict[str, Any]:
    """What must be alike on all machines, or bits are not."""
    code = {path.relative_to(SOURCE).as_posix(): sha256_file(path) for path in sorted(SOURCE.rglob("*.py"))}
    found: dict[str, Any] = runtime.environment() if gpu else runtime.software()
    return found | {"code": sha256(canonical(code).encode()).hexdigest()}


@cache
def _connected(size: int) -> Any:
    """The module ``ray``, connected until the process ends."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    own: dict[str, Any] = {}
    if not os.environ.get(ADDRESS):
        folder = tempfile.mkdtemp(prefix="ray-")  # short: Ray puts sockets below it
        atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after Ray's own end, which is registered later
        own = {"num_cpus": size or len(os.sched_getaffinity(0)), "include_dashboard": False, "_temp_dir": folder}
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # as there, it listens on 127.0.0.1 alone
        os.environ |= {"RAY_worker_niceness": "0"}  # by default they give way to everything else on the machine
    try:
        import ray
    except ImportError:
        raise UserError(
            "TINYGPTV_RUNNER is ray, which is not installed; run `pip install -c constraints.txt -e '.[ray]'`"
        ) from None
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        where = os.environ.get(ADDRESS, "of this machine")
        raise PassingError(f"the Ray cluster {where} does not answer: {brief(error)}") from None
    finally:
        for number, handler in former.items():  # Ray takes SIGTERM for itself
            signal.signal(number, handler)
    return ray
