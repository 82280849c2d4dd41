"""Where the servers listen, and what opens them: made at the first start, kept in ``.state/services``."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import UserError
from tinygptv.ground.files import read_json, write_secret
from tinygptv.ground.folders import STATE

HOST = "127.0.0.1"
"""Loopback, and nothing else: whoever may talk to Prefect may run code, and serving asks for no password."""
HOST_NAMES = (HOST, "localhost")
"""What a browser on this machine may call the servers; another name in ``Host`` is refused (DNS rebinding)."""
MLFLOW_PORT, PREFECT_PORT = 5000, 4200
MLFLOW_VARIABLE, PREFECT_VARIABLE = "TINYGPTV_MLFLOW_PORT", "TINYGPTV_PREFECT_PORT"
USER = "tinygptv"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What ``up``, ``down``, ``status`` and the flows must agree on."""

    root: Path
    mlflow_port: int
    prefect_port: int
    auth: str
    """``user:password`` that Prefect's API and page ask for."""
    mark: str
    """In the environment of all that ``up`` starts, so that ``down`` finds it whatever was killed in between."""
    mlflow_auth: str = ""
    """The same for MLflow; another one, for Prefect's lets run code. A team's MLflow has users of its own."""

    @property
    def folder(self) -> Path:
        """Settings, process ids and logs; for this user alone."""
        return folder_of(self.root)

    @property
    def mlflow(self) -> str:
        """Address of MLflow."""
        return f"http://{HOST}:{self.mlflow_port}"

    @property
    def prefect(self) -> str:
        """Address of Prefect's page."""
        return f"http://{HOST}:{self.prefect_port}"

    @property
    def prefect_api(self) -> str:
        """Address of Prefect's API."""
        return f"{self.prefect}/api"


def folder_of(root: Path) -> Path:
    """Where the servers of a checkout keep what they need."""
    return root / STATE / "services"


def read(root: Path) -> ServerSettings | None:
    """The settings of a checkout, or None where no server was ever started.

    Raises:
        UserError: the file is damaged.
    """
    path = folder_of(root) / "settings.json"
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        return ServerSettings(
            root=root,
            mlflow_port=int(content["mlflow_port"]),
            prefect_port=int(content["prefect_port"]),
            auth=str(content["auth"]),
            mark=str(content["mark"]),
            mlflow_auth=str(content.get("mlflow_auth", "")),  # of an earlier version: MLflow asked nobody
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); remove it and run `tinygptv up`") from None


def make(root: Path, env: Mapping[str, str]) -> ServerSettings:
    """The settings to start with: those kept, made where there are none, with the ports that the environment names.

    Raises:
        UserError: the file is damaged, or a variable names no port.
    """
    former = read(root)
    chosen = former or ServerSettings(root, MLFLOW_PORT, PREFECT_PORT, _password(), secrets.token_hex(8))
    chosen = replace(
        chosen,
        mlflow_auth=chosen.mlflow_auth or _password(),
        mlflow_port=port_of(env, MLFLOW_VARIABLE, chosen.mlflow_port),
        prefect_port=port_of(env, PREFECT_VARIABLE, chosen.prefect_port),
    )
    if chosen.mlflow_port == chosen.prefect_port:
        raise UserError(f"MLflow and Prefect cannot share port {chosen.mlflow_port}; set {PREFECT_VARIABLE}")
    if chosen != former:
        content: dict[str, Any] = asdict(chosen)
        del content["root"]
        write_secret(chosen.folder / "settings.json", content)
    return chosen


def _password() -> str:
    return f"{USER}:{secrets.token_urlsafe(24)}"


def mlflow_address(root: Path) -> str:
    """Where MLflow of a checkout is looked at, whether it runs or not."""
    settings = read(root)
    return settings.mlflow if settings is not None else f"http://{HOST}:{MLFLOW_PORT}"


def credentials_for(root: Path, api: str) -> str | None:
    """What opens a Prefect API, where it is the one of this checkout."""
    settings = read(root)
    if settings is None:
        return None
    ours = {f"http://{name}:{settings.prefect_port}/api" for name in HOST_NAMES}
    return settings.auth if api.rstrip("/") in ours else None


def port_of(env: Mapping[str, str], variable: str, otherwise: int) -> int:
    """The port that a variable names, or another one.

    Raises:
        UserError: it names no port.
    """
    text = env.get(variable) or str(otherwise)
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1024 <= int(text) <= 65535:
        raise UserError(f"{variable}={text} is no port; name one from 1024 to 65535")
    return int(text)
