"""``tinygptv up`` and ``down``: what is missing is started, what was applied is left alone, nothing stays behind."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tinygptv.ground import servers
from tinygptv.ground.errors import BusyError, UserError, brief
from tinygptv.ground.processes import guarded
from tinygptv.ground.servers import HOST, ServerSettings
from tinygptv.ground.stores import stores_of, users_database
from tinygptv.services import applied, processes, stack
from tinygptv.services.stack import Service
from tinygptv.services.status import SILENT, Status, answers, look

START_SECONDS = 180.0
APPLY_SECONDS = 180.0
SILENCE_SECONDS = 30.0
"""For how long a server that lives may not answer before it is started again."""
LONGEST_LOG = 10_000_000
"""Bytes above which a log is put aside at the next start."""

Say = Callable[[str], None]


def up(root: Path, env: Mapping[str, str], say: Say) -> list[Status]:
    """Start the servers that do not run, apply ``prefect.yaml``, start the worker.

    If one of them does not start, or on Ctrl-C, those started here are ended again.

    Raises:
        UserError: a port is taken, or a server ends or stays silent.
    """
    with _only_one(root):
        former = servers.read(root)
        if former is not None and any(look(service).running for service in stack.services(former, env)):
            chosen = former  # other ports would lose those that run
        else:
            chosen = servers.make(root, env)
        everything = stack.services(chosen, env)
        missing = [service for service in everything if not _runs(service)]
        if not missing:
            say("everything runs already")
            if not applied.is_current(root):
                _apply(chosen, env)
                say("prefect.yaml and the flows changed; Prefect has them now")
            return [look(service) for service in everything]
        for service in missing:
            service.end()  # what a kill left of it would hold its port
            if service.port:
                processes.check_free(HOST, service.port, service.name, service.variable)
        started: list[Service] = []
        try:
            _start(chosen, missing, started, env, say)
        except BaseException:
            for service in reversed(started):
                service.end()
            raise
        return [look(service) for service in everything]


def down(root: Path, env: Mapping[str, str], say: Say) -> int:
    """End everything that ``up`` started and all that it started in turn; returns how many processes there were.

    Runs that are at work end, too: a step saves its state and goes on there in the next run.
    """
    chosen = servers.read(root)
    if chosen is None:
        return 0
    with _only_one(root):
        count = 0
        for service in reversed(stack.services(chosen, env)):
            ended = service.end()
            count += ended
            if ended:
                say(f"{service.name} stopped")
        return count


def _start(
    chosen: ServerSettings, missing: list[Service], started: list[Service], env: Mapping[str, str], say: Say
) -> None:
    _make_databases(chosen, missing, env)
    servers = [service for service in missing if service.health]
    children = {}
    for service in servers:
        started.append(service)
        children[service.name] = _begin(service)
    for service in servers:
        _wait(service, children[service.name])
        say(f"{service.name} runs at {service.address}")
    _apply(chosen, env)
    for service in missing:
        if not service.health:
            started.append(service)
            _begin(service)
            say(f"{service.name} waits for scheduled and manual runs")


def _runs(service: Service) -> bool:
    """Whether it is well; on a busy machine an answer may take a while."""
    found = look(service)
    return found.running or (found.state == SILENT and processes.wait_for(lambda: answers(service), SILENCE_SECONDS))


def _begin(service: Service) -> subprocess.Popen[bytes]:
    if service.log.exists() and service.log.stat().st_size > LONGEST_LOG:
        service.log.replace(service.log.with_suffix(".log.1"))
    return processes.start(
        service.command, service.mark, service.record, service.log, service.environment, service.settings.root
    )


def _wait(service: Service, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers.

    Raises:
        UserError: it ended, or is silent for too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while not answers(service):
        if process.poll() is not None:
            raise UserError(f"{service.name} ended while it started: {_last_line(service.log)}; see {service.log}")
        if time.monotonic() > deadline:
            raise UserError(f"{service.name} did not answer within {START_SECONDS:.0f} s; see {service.log}")
        time.sleep(processes.POLL_SECONDS)


def _make_databases(chosen: ServerSettings, missing: list[Service], env: Mapping[str, str]) -> None:
    """Let the project make MLflow's database, whole or not at all; its server would leave half of one at a kill.

    That of the users is made by each start of the server, from nothing: its only user has the password of now. Both,
    and the files, are for this user alone. PostgreSQL makes tables in transactions; a team's is left to the server.

    Raises:
        UserError: it cannot be made.
    """
    if stores_of(chosen).shared or all(service.name != "mlflow" for service in missing):
        return
    users, database = users_database(chosen.root), chosen.root / "mlflow.db"
    for left in users.parent.glob(f"{users.name}*"):
        left.unlink()
    users.touch(0o600)
    if not database.exists():
        own = {"DVC_ROOT": str(chosen.root), "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
        command = [sys.executable, "-m", "tinygptv.tracking", "ship"]
        _run(chosen, command, stack.environment(chosen, env) | own, "MLflow's database was not made")
    for file in (database, *database.parent.glob(f"{database.name}-*")):  # SQLite gives new journals the same mode
        file.chmod(0o600)
    for folder in (chosen.root / "mlartifacts", chosen.root / ".prefect"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)


def _apply(chosen: ServerSettings, env: Mapping[str, str]) -> None:
    """Bring the work pool, the deployments of prefect.yaml and the automations to the server.

    Raises:
        UserError: Prefect refuses them.
    """
    _run(chosen, [sys.executable, "-m", "flows.deploy"], stack.environment(chosen, env), "prefect.yaml was not applied")


def _run(chosen: ServerSettings, command: list[str], env: Mapping[str, str], failure: str) -> None:
    log = chosen.folder / "apply.log"
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                guarded(command),
                cwd=chosen.root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=APPLY_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"{failure} within {APPLY_SECONDS:.0f} s; see {log}") from None
    if done.returncode:
        raise UserError(f"{failure}: {_last_line(log)}; see {log}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return brief(lines[-1]) if lines else "it said nothing"


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """One ``up`` or ``down`` at a time.

    Raises:
        BusyError: there is one.
    """
    folder = servers.folder_of(root)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError("another `tinygptv up` or `down` is at work here; wait for it") from None
        yield
