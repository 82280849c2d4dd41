from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinygptv.ground import servers
from tinygptv.ground.errors import UserError
from tinygptv.ground.files import read_json
from tinygptv.ground.stores import login_for
from tinygptv.services import stack
from tinygptv.services.environment import prefect_environment


def test_settings_are_made_once_and_for_this_user_alone(tmp_path):
    made = servers.make(tmp_path, {})
    assert servers.make(tmp_path, {}) == made == servers.read(tmp_path)
    assert (made.mlflow, made.prefect_api) == ("http://127.0.0.1:5000", "http://127.0.0.1:4200/api")
    assert made.auth.startswith("tinygptv:") and len(made.auth) > 32
    assert servers.make(tmp_path / "other", {}).auth != made.auth
    assert (made.folder / "settings.json").stat().st_mode & 0o777 == 0o600
    assert made.folder.stat().st_mode & 0o777 == 0o700


def test_ports_come_from_the_environment_and_stay(tmp_path):
    made = servers.make(tmp_path, {"TINYGPTV_MLFLOW_PORT": "5001", "TINYGPTV_PREFECT_PORT": "4201"})
    assert servers.make(tmp_path, {}) == made
    assert servers.mlflow_address(tmp_path) == "http://127.0.0.1:5001"
    assert servers.mlflow_address(tmp_path / "other") == "http://127.0.0.1:5000"


@pytest.mark.parametrize("value", ["80", "65536", "x", "-1", "\u0665\u0660\u0660\u0660", "5000 "])
def test_what_is_no_port_is_refused(tmp_path, value):
    with pytest.raises(UserError, match=r"TINYGPTV_MLFLOW_PORT=.* is no port"):
        servers.make(tmp_path, {"TINYGPTV_MLFLOW_PORT": value})
    assert servers.read(tmp_path) is None


def test_one_port_for_both_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot share port 5000"):
        servers.make(tmp_path, {"TINYGPTV_PREFECT_PORT": "5000"})


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"mlflow_port": "x", "prefect_port": 1, "auth": "a"}'])
def test_a_damaged_file_is_named(tmp_path, content):
    made = servers.make(tmp_path, {})
    (made.folder / "settings.json").write_text(content)
    with pytest.raises(UserError, match=r"settings\.json"):
        servers.read(tmp_path)


def test_the_password_goes_to_the_own_server_alone(tmp_path):
    made = servers.make(tmp_path, {})
    for api in ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200/api/", "http://localhost:4200/api"):
        assert prefect_environment({}, tmp_path, api)["PREFECT_API_AUTH_STRING"] == made.auth
    for api in ("http://127.0.0.1:4201/api", "http://elsewhere:4200/api", "http://127.0.0.1:4200.elsewhere/api", None):
        assert "PREFECT_API_AUTH_STRING" not in prefect_environment({}, tmp_path, api)
    assert "PREFECT_API_AUTH_STRING" not in prefect_environment({}, Path("/nowhere"), "http://127.0.0.1:4200/api")


def test_what_opens_mlflow_goes_to_the_own_server_alone(tmp_path):
    assert login_for(tmp_path, {}) == {}  # no server was ever started
    user, _, password = servers.make(tmp_path, {}).mlflow_auth.partition(":")
    login = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    for uri in ("http://127.0.0.1:5000", "http://localhost:5000/", f"sqlite:///{tmp_path}/mlflow.db"):
        assert login_for(tmp_path, {"MLFLOW_TRACKING_URI": uri}) == login
    assert login_for(tmp_path, {}) == login
    for uri in ("http://127.0.0.1:5001", "http://elsewhere:5000", "http://127.0.0.1:5000.elsewhere", "databricks"):
        assert login_for(tmp_path, {"MLFLOW_TRACKING_URI": uri}) == {}
        assert "MLFLOW_TRACKING_PASSWORD" not in prefect_environment({"MLFLOW_TRACKING_URI": uri}, tmp_path)
    assert prefect_environment({}, tmp_path)["MLFLOW_TRACKING_PASSWORD"] == password
    own = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "of ada"}
    assert own.items() <= prefect_environment(own, tmp_path).items()


def test_mlflow_is_started_with_users_and_no_secret_on_its_command_line(tmp_path):
    made = servers.make(tmp_path, {})
    mlflow, *_ = stack.services(made, {})
    assert mlflow.command[mlflow.command.index("--app-name") + 1] == "basic-auth"
    password = made.mlflow_auth.partition(":")[2]
    assert mlflow.environment["MLFLOW_AUTH_ADMIN_PASSWORD"] == password
    assert not any(password in word for word in mlflow.command)
    assert not any(made.auth.partition(":")[2] in value for value in mlflow.environment.values())
    users = made.folder / "mlflow-users.ini"
    assert "database_uri = sqlite:///" in users.read_text() and users.stat().st_mode & 0o777 == 0o600


def test_settings_of_an_earlier_version_get_a_password_for_mlflow(tmp_path):
    made = servers.make(tmp_path, {})
    path = made.folder / "settings.json"
    path.write_text(json.dumps({key: value for key, value in read_json(path).items() if key != "mlflow_auth"}))
    assert login_for(tmp_path, {}) == {}
    again = servers.make(tmp_path, {})
    assert again.mlflow_auth.startswith("tinygptv:") and (again.auth, again.mark) == (made.auth, made.mark)
    assert login_for(tmp_path, {})["MLFLOW_TRACKING_PASSWORD"] == again.mlflow_auth.partition(":")[2]
