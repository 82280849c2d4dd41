"""What MLflow's server answers to a program for which its client's seconds of import would be too long."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tinygptv.tracking.client import credentials

ANSWER_SECONDS = 5.0
LARGEST_ANSWER = 1_000_000


def ask(server: str, path: str, asked: Mapping[str, str], env: Mapping[str, str]) -> Any:
    """What MLflow's REST API answers to a GET.

    Args:
        server: its address.
        path: such as ``runs/get``.
        asked: the parameters.
        env: where user and password are, in the variables of MLflow's own client.

    Raises:
        OSError: no answer, or a refusal.
        ValueError: the answer is no JSON.
    """
    # the address is of the project's own records
    request = Request(f"{server}/api/2.0/mlflow/{path}?{urlencode(asked)}", headers=login(env))  # noqa: S310
    with urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
        return json.loads(answer.read(LARGEST_ANSWER))


def login(env: Mapping[str, str]) -> dict[str, str]:
    """The header that MLflow's server wants to see, of the variables that MLflow's own client takes."""
    env = {**env, **credentials(env)}
    user, password = env.get("MLFLOW_TRACKING_USERNAME"), env.get("MLFLOW_TRACKING_PASSWORD")
    if not user or not password:
        return {}
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}
