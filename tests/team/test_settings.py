from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tinygptv.ground import servers as services_settings
from tinygptv.ground import stores
from tinygptv.ground.errors import UserError
from tinygptv.services import stack
from tinygptv.team import postgres, s3, settings, up


def test_settings_are_made_once_and_for_this_user_alone(tmp_path):
    made = settings.make(tmp_path, {})
    assert settings.make(tmp_path, {}) == made == settings.read(tmp_path)
    assert (made.postgres_port, made.s3) == (5433, "http://127.0.0.1:8333")
    path = settings.file_of(tmp_path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    secrets = [made.postgres_password, made.mlflow_password, made.session_key, *made.database_passwords.values()]
    secrets += [key["secret"] for key in (made.s3_admin, *made.s3_keys.values())]
    assert len(set(secrets)) == len(secrets) == 9
    assert min(map(len, secrets)) >= 32


def test_addresses_keep_the_passwords(tmp_path):
    made = settings.make(tmp_path, {"TINYGPTV_POSTGRES_PORT": "6000"})
    for name in settings.DATABASES:
        parts = urlsplit(made.database(name))
        assert (parts.username, parts.password, parts.path) == (name, made.database_passwords[name], f"/{name}")
        assert (parts.hostname, parts.port) == ("127.0.0.1", 6000)


@pytest.mark.parametrize("value", ["80", "65536", "x", "-1"])
def test_what_is_no_port_is_refused(tmp_path, value):
    with pytest.raises(UserError, match=r"TINYGPTV_S3_PORT=.* is no port"):
        settings.make(tmp_path, {"TINYGPTV_S3_PORT": value})
    assert settings.read(tmp_path) is None


def test_one_port_for_both_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot share port 5433"):
        settings.make(tmp_path, {"TINYGPTV_S3_PORT": "5433"})


@pytest.mark.parametrize("content", ["{}", "[]", '{"mark": "x"}'])
def test_damaged_settings_are_named(tmp_path, content):
    settings.make(tmp_path, {})
    settings.file_of(tmp_path).write_text(content)
    with pytest.raises(UserError, match=r"team\.json is damaged"):
        settings.read(tmp_path)


def test_without_a_team_the_servers_use_files(tmp_path):
    mlflow, prefect, worker = stack.services(services_settings.make(tmp_path, {}), {"AWS_PROFILE": "theirs"})
    assert f"sqlite:///{tmp_path}/mlflow.db" in mlflow.command
    assert "AWS_PROFILE" not in mlflow.environment
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in prefect.environment
    assert worker.environment["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"


def test_each_server_is_told_of_its_own_store_and_no_command_line_has_a_secret(tmp_path):
    servers, team = services_settings.make(tmp_path, {}), settings.make(tmp_path, {})
    stores.write(tmp_path, team.stores())
    mlflow, prefect, worker = stack.services(servers, {})
    assert mlflow.environment["MLFLOW_BACKEND_STORE_URI"] == team.database("mlflow")
    assert mlflow.environment["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://mlflow"
    assert prefect.environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"].startswith("postgresql+asyncpg://prefect:")
    assert worker.environment["MLFLOW_TRACKING_URI"] == servers.mlflow
    assert worker.environment["MLFLOW_TRACKING_PASSWORD"] == team.mlflow_password
    secrets = [*team.database_passwords.values(), *(key["secret"] for key in team.s3_keys.values())]
    for secret in [*secrets, team.mlflow_password, team.session_key]:
        for service in (mlflow, prefect, worker):
            assert secret not in " ".join(service.command)
        if secret != team.mlflow_password:
            assert all(secret not in value for value in worker.environment.values())
    users = configparser.ConfigParser()
    users.read(mlflow.environment["MLFLOW_AUTH_CONFIG_PATH"])
    assert users["mlflow"]["database_uri"] == team.database("mlflow_users")
    assert Path(mlflow.environment["MLFLOW_AUTH_CONFIG_PATH"]).stat().st_mode & 0o777 == 0o600


def test_an_address_of_the_caller_gets_no_password_of_ours(tmp_path):
    stores.write(tmp_path, settings.make(tmp_path, {}).stores())
    given = stack.environment(services_settings.make(tmp_path, {}), {"MLFLOW_TRACKING_URI": "https://else.example"})
    assert given["MLFLOW_TRACKING_URI"] == "https://else.example"
    assert "MLFLOW_TRACKING_PASSWORD" not in given


def test_stores_that_lack_a_key_are_named(tmp_path):
    stores.write(tmp_path, settings.make(tmp_path, {}).stores())
    content = json.loads(stores.file_of(tmp_path).read_text())
    del content["artifacts"]
    stores.file_of(tmp_path).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"stores\.json must have exactly the keys mlflow_database, "):
        stores.read(tmp_path)


def test_exports_need_a_team(tmp_path):
    with pytest.raises(UserError, match="run `tinygptv team up`"):
        up.exports(tmp_path)
    assert up.table(tmp_path, {}) == ("no store was started here yet; run `tinygptv team up`", False)


def test_a_missing_postgresql_is_one_line(monkeypatch):
    monkeypatch.setattr(postgres, "_candidates", lambda: iter(()))
    with pytest.raises(UserError, match=r"PostgreSQL is missing; pip install .*\[team\]"):
        postgres._programs()


def test_root_becomes_another_user_and_says_where_that_user_cannot_go(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    other = postgres._other_user()
    assert other is not None and other.pw_uid != 0
    words = postgres._become("program", "option")
    assert words[-4:] == (str(other.pw_uid), str(other.pw_gid), "program", "option")
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(UserError, match="may not enter"):
        postgres._check_way(closed / "inside", other)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres._become("program") == ("program",)


def test_keys_open_their_own_bucket(tmp_path):
    s3.write_keys(tmp_path, {"key": "a", "secret": "b"}, {"one": {"key": "c", "secret": "d"}})
    admin, one = json.loads((tmp_path / "s3.json").read_text())["identities"]
    assert "Admin" in admin["actions"] and "Admin" not in one["actions"]
    assert set(one["actions"]) == {"Read:one", "List:one", "Tagging:one", "Write:one"}
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_killed_postgresql_keeps_its_lock_until_nobody_works_there(tmp_path, monkeypatch):
    """Number 1 is always in use, so that PostgreSQL itself would take this lock for that of a living one."""
    made = settings.make(tmp_path, {})
    data = made.folder / "postgres" / "data"
    data.mkdir(parents=True)
    lock = data / "postmaster.pid"
    lock.write_text("1\n")
    monkeypatch.setattr(postgres, "LEAVE_SECONDS", 0.2)
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=data, stdin=subprocess.PIPE) as left:
        postgres.unlock(made)
        assert lock.exists()
        left.communicate(b"\n")
    postgres.unlock(made)
    assert not lock.exists()
