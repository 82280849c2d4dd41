"""Ports, names and secrets of the team's stores: made at the first start, kept in ``.state/services/team.json``."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import UserError
from tinygptv.ground.files import read_json, write_secret
from tinygptv.ground.folders import STATE
from tinygptv.ground.servers import HOST, USER, folder_of, port_of
from tinygptv.ground.stores import Team

POSTGRES_PORT, S3_PORT = 5433, 8333
POSTGRES_VARIABLE, S3_VARIABLE = "TINYGPTV_POSTGRES_PORT", "TINYGPTV_S3_PORT"
DATABASES = ("mlflow", "mlflow_users", "prefect")
"""Each belongs to a role of the same name, which may use no other."""
ARTIFACTS, REMOTE = "mlflow", "dvc"
"""Buckets; each has a key of the same name, which opens no other."""


@dataclass(frozen=True, slots=True)
class TeamSettings:
    """What the commands must agree on."""

    root: Path
    postgres_port: int
    s3_port: int
    mark: str
    """In the environment of all that is started, so that it is found again."""
    postgres_password: str
    """Of the superuser ``tinygptv``."""
    database_passwords: Mapping[str, str]
    s3_admin: Mapping[str, str]
    """``key`` and ``secret`` of who makes buckets."""
    s3_keys: Mapping[str, Mapping[str, str]]
    """The same for each bucket."""
    mlflow_password: str
    session_key: str

    @property
    def folder(self) -> Path:
        """Data, process ids and logs; what is secret is not here, for PostgreSQL's user must get through."""
        return self.root / STATE / "team"

    @property
    def s3(self) -> str:
        """Address of the S3 server."""
        return f"http://{HOST}:{self.s3_port}"

    def database(self, name: str, driver: str = "postgresql") -> str:
        """Address of a database, with its password."""
        return f"{driver}://{name}:{self.database_passwords[name]}@{HOST}:{self.postgres_port}/{name}"

    def stores(self) -> Team:
        """What the servers are told."""
        return Team(
            mlflow_database=self.database("mlflow"),
            users_database=self.database("mlflow_users"),
            prefect_database=self.database("prefect", "postgresql+asyncpg"),
            artifacts=f"s3://{ARTIFACTS}",
            s3_endpoint=self.s3,
            s3_key=self.s3_keys[ARTIFACTS]["key"],
            s3_secret=self.s3_keys[ARTIFACTS]["secret"],
            mlflow_user=USER,
            mlflow_password=self.mlflow_password,
            session_key=self.session_key,
        )


def file_of(root: Path) -> Path:
    """Where the settings of a checkout are kept: a folder for this user alone."""
    return folder_of(root) / "team.json"


def read(root: Path) -> TeamSettings | None:
    """The settings of a checkout, or None where no store was ever started.

    Raises:
        UserError: the file is damaged. Its passwords are the only ones that open the databases.
    """
    path = file_of(root)
    if not path.is_file():
        return None
    content = read_json(path)
    names = {entry.name for entry in fields(TeamSettings)} - {"root"}
    if not isinstance(content, dict) or set(content) != names:
        raise UserError(f"{path} is damaged; bring it back, or remove it and .state/team with all its data")
    return TeamSettings(root=root, **content)


def make(root: Path, env: Mapping[str, str]) -> TeamSettings:
    """The settings to start with: those kept, made where there are none, with the ports that the environment names.

    Raises:
        UserError: the file is damaged, or a variable names no port.
    """
    former = read(root)
    chosen = former if former is not None else _new(root)
    chosen = replace(
        chosen,
        postgres_port=port_of(env, POSTGRES_VARIABLE, chosen.postgres_port),
        s3_port=port_of(env, S3_VARIABLE, chosen.s3_port),
    )
    if chosen.postgres_port == chosen.s3_port:
        raise UserError(f"PostgreSQL and S3 cannot share port {chosen.s3_port}; set {S3_VARIABLE}")
    if chosen != former:
        content: dict[str, Any] = asdict(chosen)
        del content["root"]
        write_secret(file_of(root), content)
    return chosen


def _new(root: Path) -> TeamSettings:
    return TeamSettings(
        root=root,
        postgres_port=POSTGRES_PORT,
        s3_port=S3_PORT,
        mark=secrets.token_hex(8),
        postgres_password=secrets.token_urlsafe(24),
        database_passwords={name: secrets.token_urlsafe(24) for name in DATABASES},
        s3_admin=_key(),
        s3_keys={bucket: _key() for bucket in (ARTIFACTS, REMOTE)},
        mlflow_password=secrets.token_urlsafe(24),
        session_key=secrets.token_urlsafe(32),
    )


def _key() -> dict[str, str]:
    return {"key": secrets.token_hex(10), "secret": secrets.token_urlsafe(30)}
