"""``tinygptv team up`` and ``down``: the stores, and the servers of ``tinygptv up`` on them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tinygptv.ground import servers as services_settings
from tinygptv.ground import stores as services_stores
from tinygptv.ground.errors import UserError
from tinygptv.ground.folders import STATE
from tinygptv.ground.locks import only_one
from tinygptv.ground.servers import HOST
from tinygptv.ground.tables import plain_table
from tinygptv.services import processes
from tinygptv.services import stack as services_stack
from tinygptv.services import up as services
from tinygptv.services.status import Status, look
from tinygptv.services.up import Say
from tinygptv.team import settings
from tinygptv.team.settings import REMOTE, TeamSettings
from tinygptv.team.stack import Store, stores


def up(root: Path, env: Mapping[str, str], say: Say) -> list[Status]:
    """Start the stores that do not run, let the servers use them, start those.

    What was started here is ended again if something does not start, or on Ctrl-C.

    Raises:
        UserError: a port is taken, a program is missing, a store or server does not start, or the servers run on files.
    """
    with _only_one(root):
        _refuse_servers_on_files(root, env)
        chosen = _settings(root, env)
        before = services_stores.file_of(root).exists()
        started: list[Store] = []
        try:
            for store in stores(chosen, env):
                if store.lives() and store.answers():
                    continue
                store.end()  # what a kill left of it would hold its port
                processes.check_free(HOST, store.port, store.name, store.variable)
                started.append(store)
                store.begin()
                say(f"{store.name} runs at {store.address}")
            services_stores.write(root, chosen.stores())
            return services.up(root, env, say)
        except BaseException:
            for store in reversed(started):
                store.end()
            if not before:
                services_stores.forget(root)
            raise


def down(root: Path, env: Mapping[str, str], say: Say) -> int:
    """End the servers, then the stores; data and passwords stay. Returns how many processes there were."""
    chosen = settings.read(root)
    if chosen is None:
        return services.down(root, env, say)
    with _only_one(root):
        count = services.down(root, env, say)
        for store in reversed(stores(chosen, env)):
            ended = store.end()
            count += ended
            if ended:
                say(f"{store.name} stopped")
        services_stores.forget(root)
        return count


def table(root: Path, env: Mapping[str, str]) -> tuple[str, bool]:
    """State of the stores for a terminal, and whether both run."""
    chosen = settings.read(root)
    if chosen is None:
        return "no store was started here yet; run `tinygptv team up`", False
    rows, well = [], True
    for store in stores(chosen, env):
        running = store.lives() and store.answers()
        well &= running
        state = "running" if running else "does not answer" if store.lives() else "stopped"
        rows.append((store.name, state, store.address, str(store.log.relative_to(root)) if store.log.exists() else ""))
    return plain_table(("store", "state", "address", "log"), rows), well


def exports(root: Path) -> dict[str, str]:
    """What a terminal, or another clone on this machine, needs to record here and to use the DVC remote.

    Raises:
        UserError: the servers were not started on a team's stores.
    """
    servers, chosen, named = services_settings.read(root), settings.read(root), services_stores.read(root)
    if servers is None or chosen is None or named is None:
        raise UserError("no team's servers here; run `tinygptv team up`")
    key = chosen.s3_keys[REMOTE]
    return {
        **services_stores.stores_of(servers).client,
        "TINYGPTV_PREFECT_API_URL": servers.prefect_api,
        "PREFECT_API_AUTH_STRING": servers.auth,
        "AWS_ACCESS_KEY_ID": key["key"],
        "AWS_SECRET_ACCESS_KEY": key["secret"],
    }


def remote(root: Path) -> tuple[str, str]:
    """Address and end point of the DVC remote.

    Raises:
        UserError: no store was started.
    """
    chosen = settings.read(root)
    if chosen is None:
        raise UserError("no team's servers here; run `tinygptv team up`")
    return f"s3://{REMOTE}/tinygptv", chosen.s3


def _settings(root: Path, env: Mapping[str, str]) -> TeamSettings:
    """Those that the stores run with, for other ports would lose them; else those to start with."""
    former = settings.read(root)
    if former is not None and any(store.lives() for store in stores(former, env)):
        return former
    return settings.make(root, env)


def _refuse_servers_on_files(root: Path, env: Mapping[str, str]) -> None:
    """Other stores would not reach servers that run.

    Raises:
        UserError: they do.
    """
    servers = services_settings.read(root)
    if servers is None or services_stores.file_of(root).exists():
        return
    if any(look(service).pid is not None for service in services_stack.services(servers, env)):
        raise UserError("the servers run on files of this checkout; `tinygptv down` ends them, then repeat this")


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    folder = root / STATE / "team"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)  # root's PostgreSQL is another user, who must get through
    with only_one(folder / "lock", "`tinygptv team`"):
        yield
