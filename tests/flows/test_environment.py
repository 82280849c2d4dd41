from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import prefect.client.orchestration
import uvicorn

from flows.environment import isolated

FOREIGN = {
    "PREFECT_API_URL": "http://foreign/api",
    "PREFECT_API_KEY": "key",
    "PREFECT_PROFILE": "work",
    "PREFECT_HOME": "/elsewhere",
    "HOME": "/home/user",
}


def test_nothing_of_a_foreign_prefect_is_left():
    env = isolated(FOREIGN, Path("/checkout"))
    assert env["PREFECT_HOME"] == "/checkout/.prefect"
    assert not {"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE"} & set(env)
    assert env["HOME"] == "/home/user"
    assert (env["PREFECT_SERVER_ANALYTICS_ENABLED"], env["DO_NOT_TRACK"]) == ("false", "true")
    assert env["TINYGPTV_PYTHON"] == sys.executable


def test_a_server_is_used_only_where_asked_for():
    assert isolated(FOREIGN, Path("/c"), "http://mine/api")["PREFECT_API_URL"] == "http://mine/api"
    asked = isolated({**FOREIGN, "TINYGPTV_PREFECT_API_URL": "http://var/api"}, Path("/c"))
    assert (asked["PREFECT_API_URL"], asked["PREFECT_API_KEY"]) == ("http://var/api", "key")


def test_servers_keep_connections_longer_than_prefects_clients_do():
    """What the client finds closed costs it two seconds."""
    client = inspect.getsource(prefect.client.orchestration)
    expiry = max(int(seconds) for seconds in re.findall(r"keepalive_expiry=(\d+)", client))
    env = isolated(FOREIGN, Path("/checkout"))
    for name in ("PREFECT_SERVER_API_KEEPALIVE_TIMEOUT", "UVICORN_TIMEOUT_KEEP_ALIVE"):
        assert int(env[name]) > expiry


def test_the_server_takes_the_setting():
    """uvicorn, as Prefect starts it for a temporary server, reads its options from such variables."""
    with uvicorn.main.make_context("uvicorn", ["app:app"], auto_envvar_prefix="UVICORN") as context:
        assert context.params["timeout_keep_alive"] == 5
    env = {"UVICORN_TIMEOUT_KEEP_ALIVE": isolated({}, Path("/c"))["UVICORN_TIMEOUT_KEEP_ALIVE"]}
    code = "import uvicorn; print(uvicorn.main.make_context('uvicorn', ['app:app']).params['timeout_keep_alive'])"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == env["UVICORN_TIMEOUT_KEEP_ALIVE"]


def test_flows_import_no_machine_learning_and_the_launcher_not_even_prefect():
    code = (
        "import sys, flows.pipeline\n"
        "assert 'prefect' not in sys.modules\n"
        "import flows.tasks, flows.ui\n"
        "print([name for name in ('torch', 'numpy', 'mlflow', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
