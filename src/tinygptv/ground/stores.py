"""Where the servers keep what they are told: files of the checkout, or a team's PostgreSQL and S3 (docs/team.md).

The latter where ``.state/services/stores.json`` names them. A team's databases and keys are for the servers alone:
whoever records or fetches speaks to MLflow's server. It asks for a password in any case.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinygptv.ground import servers as servers
from tinygptv.ground.errors import UserError
from tinygptv.ground.files import read_json, write_json, write_text
from tinygptv.ground.servers import HOST_NAMES, ServerSettings, folder_of

FOREIGN = ("MLFLOW_", "AWS_")
"""What the caller's environment says about other servers and stores."""
THROUGH_SERVER = {"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false", "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}
"""For whoever speaks to MLflow's server. Else its client sends files of 500 MiB and more to S3 itself, and fetches all
from there, at the address under which the server knows it: one that may be known in the server's own network alone."""
WITH_USERS = ("--app-name", "basic-auth")
USERS_SETTINGS = """\
[mlflow]
default_permission = EDIT
database_uri = {database}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
"""Of MLflow's own users: each may record and move aliases, none but who made it, or an administrator, may delete. The
cache spares a slow hash in every request; it lives in the one worker process, so that a change counts at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A team's stores, as ``stores.json`` has them."""

    mlflow_database: str
    """``postgresql://user:password@host:port/name``."""
    users_database: str
    """That of MLflow's users; another one than MLflow's own."""
    prefect_database: str
    """``postgresql+asyncpg://user:password@host:port/name``."""
    artifacts: str
    """``s3://bucket`` or ``s3://bucket/prefix``."""
    s3_endpoint: str
    s3_key: str
    s3_secret: str
    mlflow_user: str
    """MLflow's administrator, made at its first start; the worker records as this user."""
    mlflow_password: str
    """At least 12 characters, or MLflow refuses to start."""
    session_key: str
    """With which MLflow signs its sessions."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What the servers and those who speak to them are told about the stores."""

    shared: bool
    """Whether they are a team's, and not files of the checkout."""
    options: tuple[str, ...] = ()
    """Of ``mlflow server``. No secret is among them: every user of the machine may read command lines."""
    mlflow: dict[str, str] = field(default_factory=dict)
    """Environment of MLflow's server."""
    prefect: dict[str, str] = field(default_factory=dict)
    """Environment of Prefect's server."""
    client: dict[str, str] = field(default_factory=dict)
    """Environment of whoever records."""
    login: dict[str, str] = field(default_factory=dict)
    """That part of the environment that opens MLflow's server."""


def stores_of(settings: ServerSettings) -> Stores:
    """The stores of a checkout's servers.

    Raises:
        UserError: ``stores.json`` is damaged.
    """
    team = read(settings.root)
    return _files(settings) if team is None else _team(settings, team)


def login_for(root: Path, env: Mapping[str, str]) -> dict[str, str]:
    """What opens MLflow's server of a checkout, in the variables of MLflow's own client.

    Args:
        root: the checkout.
        env: of whoever asks; nothing where it records on another server, which must not see it.

    Raises:
        UserError: the settings are damaged.
    """
    settings = servers.read(root)
    if settings is None:
        return {}
    ours = [f"http://{name}:{settings.mlflow_port}" for name in HOST_NAMES]
    uri = env.get("MLFLOW_TRACKING_URI", "")
    return stores_of(settings).login if uri.rstrip("/") in ("", *ours) or uri.startswith("sqlite:") else {}


def users_database(root: Path) -> Path:
    """MLflow's users, where its server uses files."""
    return folder_of(root) / "mlflow-users.db"


def file_of(root: Path) -> Path:
    """Where a team's stores are named."""
    return folder_of(root) / "stores.json"


def read(root: Path) -> Team | None:
    """The team's stores of a checkout, or None where its servers use files.

    Raises:
        UserError: the file is damaged.
    """
    path = file_of(root)
    if not path.is_file():
        return None
    content = read_json(path)
    names = Team.__dataclass_fields__
    if not isinstance(content, dict) or set(content) != set(names):
        raise UserError(f"{path} must have exactly the keys {', '.join(names)}; see docs/team.md")
    return Team(**{name: str(value) for name, value in content.items()})


def write(root: Path, team: Team) -> None:
    """Let the servers use these stores from their next start on."""
    path = file_of(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)  # before the secrets are in it
    content: dict[str, Any] = asdict(team)
    write_json(path, content)
    path.chmod(0o600)


def forget(root: Path) -> None:
    """Let the servers use files again."""
    file_of(root).unlink(missing_ok=True)


def _files(settings: ServerSettings) -> Stores:
    root = settings.root
    database = f"sqlite:///{root / 'mlflow.db'}"
    user, _, password = settings.mlflow_auth.partition(":")
    return Stores(
        shared=False,
        options=("--backend-store-uri", database, "--artifacts-destination", str(root / "mlartifacts"), *WITH_USERS),
        mlflow=_users(settings, f"sqlite:///{users_database(root)}", user, password, secrets.token_urlsafe(32)),
        client={"MLFLOW_TRACKING_URI": database},
        login=_login(user, password) if password else {},
    )


def _team(settings: ServerSettings, team: Team) -> Stores:
    login = _login(team.mlflow_user, team.mlflow_password)
    return Stores(
        shared=True,
        options=WITH_USERS,
        mlflow=_users(settings, team.users_database, team.mlflow_user, team.mlflow_password, team.session_key)
        | {
            "MLFLOW_BACKEND_STORE_URI": team.mlflow_database,
            "MLFLOW_ARTIFACTS_DESTINATION": team.artifacts,
            "MLFLOW_S3_ENDPOINT_URL": team.s3_endpoint,
            "AWS_ACCESS_KEY_ID": team.s3_key,
            "AWS_SECRET_ACCESS_KEY": team.s3_secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        prefect={"PREFECT_SERVER_DATABASE_CONNECTION_URL": team.prefect_database},
        client={"MLFLOW_TRACKING_URI": settings.mlflow, **login, **THROUGH_SERVER},
        login=login,
    )


def _users(settings: ServerSettings, database: str, user: str, password: str, session_key: str) -> dict[str, str]:
    """Environment of an MLflow server with users: their database, and the first of them, its administrator."""
    users = settings.folder / "mlflow-users.ini"
    content = USERS_SETTINGS.format(database=database.replace("%", "%%"))
    if not users.is_file() or users.read_text() != content:
        write_text(users, content)
        users.chmod(0o600)
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(users),
        "MLFLOW_AUTH_ADMIN_USERNAME": user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": session_key,
    }


def _login(user: str, password: str) -> dict[str, str]:
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
