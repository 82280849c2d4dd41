from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
    assert asked["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"  # more often than silence counts as death


def test_flows_import_no_machine_learning_and_the_launcher_not_even_prefect():
    code = (
        "import sys, flows.pipeline\n"
        "assert 'prefect' not in sys.modules\n"
        "import flows.artifacts, flows.automations, flows.deploy, flows.scheduled, flows.tasks\n"
        "print([name for name in ('torch', 'numpy', 'mlflow', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
