from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prefect._internal.git import get_git_remote_origin_url

from flows.command import stream
from flows.deploy import origin_without_user
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


def test_a_user_in_the_address_of_a_server_becomes_prefect_s_own_credentials():
    """Prefect names its server where it cannot be reached, and never the credentials."""
    env = isolated({"PREFECT_API_AUTH_STRING": "other"}, Path("/c"), "http://user:t0%2Fken@mine/api")
    assert (env["PREFECT_API_URL"], env["PREFECT_API_AUTH_STRING"]) == ("http://mine/api", "user:t0/ken")


def test_what_a_command_below_a_flow_says_is_cleaned(tmp_path):
    """It goes to Prefect's log, and the last line into the state of the run."""
    said: list[str] = []
    program = "import sys; print('lost https://user:t0ken@host/x', file=sys.stderr)"
    code, last = stream([sys.executable, "-c", program], tmp_path, tmp_path / "result", said.append)
    assert (code, last, said) == (0, "lost https://host/x", ["lost https://host/x"])


def test_prefect_is_told_the_origin_without_its_token(tmp_path, monkeypatch):
    """It stores the address with each deployment."""
    monkeypatch.chdir(tmp_path)
    assert origin_without_user() == {}
    for command in (["init", "-q"], ["remote", "add", "origin", "https://user:t0ken@github.com/a/b.git"]):
        subprocess.run(["git", *command], check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "own.key")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "own value")
    for name, value in origin_without_user().items():
        monkeypatch.setenv(name, value)
    assert get_git_remote_origin_url() == "https://github.com/a/b.git"
    kept = subprocess.run(["git", "config", "own.key"], capture_output=True, text=True, check=True)
    assert kept.stdout == "own value\n"


def test_flows_import_no_machine_learning_and_the_launcher_not_even_prefect():
    code = (
        "import sys, flows.pipeline\n"
        "assert 'prefect' not in sys.modules\n"
        "import flows.artifacts, flows.automations, flows.deploy, flows.scheduled, flows.flow\n"
        "print([name for name in ('torch', 'numpy', 'mlflow', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
