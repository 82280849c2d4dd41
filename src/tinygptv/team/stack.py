"""The two processes below the team's servers: how each is made ready, started, asked and ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tinygptv.ground.errors import UserError, brief
from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.servers import HOST
from tinygptv.services import processes
from tinygptv.team import postgres, s3
from tinygptv.team.settings import POSTGRES_VARIABLE, S3_VARIABLE, TeamSettings

START_SECONDS = 60.0
END_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Store(processes.RecordedProcess):
    """One of them."""

    name: str
    settings: TeamSettings
    port: int
    variable: str
    """The environment variable that gives it another port."""
    begin: Callable[[], None]
    answers: Callable[[], bool]
    """Whether it is ready; may make what is missing in it."""
    signal: signal.Signals
    """What asks it to end in order and at once."""
    patience: float
    """Seconds that it has for that."""

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    def start(self, command: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> None:
        """Start it and wait until it is ready.

        Raises:
            UserError: it ended, or is silent for too long.
        """
        process = processes.start(command, self.mark, self.record, self.log, env, cwd)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if process.poll() is not None:
                lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
                raise UserError(f"{self.name} ended while it started: {brief(lines[-1])}; see {self.log}")
            if time.monotonic() > deadline:
                raise UserError(f"{self.name} did not answer within {START_SECONDS:.0f} s; see {self.log}")
            time.sleep(processes.POLL_SECONDS)

    def lives(self) -> bool:
        """Whether its process is there."""
        process = processes.known(self.record)
        return process is not None and process.lives()

    def end(self) -> int:
        """End it and all below it; returns how many processes there were."""
        process, count = processes.known(self.record), len(processes.marked(self.mark))
        if process is not None and process.lives():
            os.kill(process.pid, self.signal)
            processes.wait_for(lambda: not process.lives(), self.patience)
        processes.end(self.record, self.mark, (END_SECONDS,))
        for left in _sockets(self.settings):
            left.unlink(missing_ok=True)
        return count


def stores(settings: TeamSettings, env: Mapping[str, str]) -> tuple[Store, ...]:
    """Both, in the order in which they start."""
    return _postgres(settings, env), _s3(settings, env)


def _postgres(settings: TeamSettings, env: Mapping[str, str]) -> Store:
    def begin() -> None:
        postgres.prepare(settings)
        postgres.unlock(settings)
        made.start(postgres.command(settings), postgres.environment(env), settings.folder)
        postgres.make_databases(settings)

    made = Store(
        name="postgres",
        settings=settings,
        port=settings.postgres_port,
        variable=POSTGRES_VARIABLE,
        begin=begin,
        answers=lambda: postgres.answers(settings),
        signal=signal.SIGINT,  # its "fast" end; SIGTERM would wait for its clients
        patience=END_SECONDS,
    )
    return made


def _s3(settings: TeamSettings, env: Mapping[str, str]) -> Store:
    folder = settings.folder / "s3"

    def begin() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        s3.write_keys(folder, settings.s3_admin, settings.s3_keys)
        inner = dict(zip(s3.INNER, s3.free_ports(len(s3.INNER)), strict=True))
        write_json(_ports_file(settings), inner)
        made.start(tuple(s3.command(folder, settings.s3_port, inner)), _without_weed(env), folder)

    made = Store(
        name="s3",
        settings=settings,
        port=settings.s3_port,
        variable=S3_VARIABLE,
        begin=begin,
        answers=lambda: s3.ready(settings.s3, settings.s3_admin, settings.s3_keys),
        signal=signal.SIGTERM,
        patience=2 * END_SECONDS,  # its own farewell takes 15 seconds
    )
    return made


def _ports_file(settings: TeamSettings) -> Path:
    return settings.folder / "s3" / "ports.json"


def _sockets(settings: TeamSettings) -> tuple[Path, ...]:
    path = _ports_file(settings)
    return s3.sockets(read_json(path)) if path.is_file() else ()


def _without_weed(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not name.startswith(("WEED_", "AWS_"))}
