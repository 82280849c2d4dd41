"""The door to MLflow: a database that is whole or absent, no retries behind our back, an experiment made twice."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import mlflow.store.tracking.sqlalchemy_store as mlflow_store
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INTERNAL_ERROR, RESOURCE_ALREADY_EXISTS

from tinygptv.tracking import client
from tinygptv.tracking.client import Tracking


class Tables:
    """Makes a file as MLflow's store does; ``room`` says whether all of it fits."""

    room = False

    def __init__(self, uri: str, artifacts: str) -> None:
        path = Path(uri.removeprefix("sqlite:///"))
        path.write_bytes(b"some")
        path.with_name(f"{path.name}-journal").write_bytes(b"journal")
        if not self.room:
            raise OSError("database or disk is full")
        path.with_name(f"{path.name}-journal").unlink()
        path.write_bytes(b"all tables")

    def _dispose_engine(self) -> None:
        """Nothing is open."""


def test_a_database_is_whole_or_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow_store, "SqlAlchemyStore", Tables)
    database = tmp_path / "mlflow.db"
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            client._create_database(database)
        assert not database.exists()
        assert len(list(tmp_path.iterdir())) == 2  # those of the attempt before are gone
    monkeypatch.setattr(Tables, "room", True)
    client._create_database(database)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    database.write_bytes(b"runs")
    client._create_database(database)
    assert database.read_bytes() == b"runs"


def test_mlflow_does_not_try_again_by_itself():
    """One retry of a request whose answer was lost makes a second run; a 429 may ask for a pause of an hour."""
    client.prepare_environment()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert os.environ["MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER"] == "false"


class Server:
    """A server that other checkouts speak to as well: what they do in between is in its answers."""

    def __init__(self, *answers, refusal=None):
        self._answers = list(answers)
        self._refusal = refusal
        self.calls = []

    def get_experiment_by_name(self, name):
        assert name == "tinygptv/tiny"
        return self._answers.pop(0)

    def create_experiment(self, name, **settings):
        self._do("create", settings)

    def set_experiment_tag(self, *tag):
        self._do("tag", tag)

    def _do(self, *call):
        self.calls.append(call)
        if self._refusal is not None:
            raise MlflowException("no", error_code=self._refusal)


KIND = {"mlflow.experimentKind": "custom_model_development"}


def experiment(tags):
    return SimpleNamespace(experiment_id="7", name="tinygptv/tiny", tags=tags)


def id_from(tmp_path, server):
    return Tracking(tmp_path, "http://127.0.0.1:1", server).experiment("tiny")


def test_an_experiment_is_created_with_its_kind_in_one_call(tmp_path):
    """A tag that is set afterwards is set by two processes at once, and MLflow's database refuses the second."""
    server = Server(None, None, experiment(KIND))
    assert id_from(tmp_path, server) == "7"
    assert server.calls == [("create", {"artifact_location": None, "tags": KIND})]


def test_whoever_comes_second_takes_the_experiment_of_the_first(tmp_path):
    server = Server(None, None, experiment(KIND), refusal=RESOURCE_ALREADY_EXISTS)
    assert id_from(tmp_path, server) == "7"
    assert [call[0] for call in server.calls] == ["create"]


def test_an_experiment_of_an_earlier_version_gets_its_kind(tmp_path):
    server = Server(experiment({}), experiment({}))
    assert id_from(tmp_path, server) == "7"
    assert server.calls == [("tag", ("7", "mlflow.experimentKind", "custom_model_development"))]


def test_a_kind_that_another_checkout_sets_at_the_same_time_is_no_fault(tmp_path):
    server = Server(experiment({}), experiment({}), experiment(KIND), refusal=BAD_REQUEST)
    assert id_from(tmp_path, server) == "7"


def test_other_refusals_are_passed_on(tmp_path):
    with pytest.raises(MlflowException):
        id_from(tmp_path, Server(None, None, refusal=INTERNAL_ERROR))
    with pytest.raises(MlflowException):
        id_from(tmp_path, Server(experiment({}), experiment({}), experiment({}), refusal=BAD_REQUEST))


def test_database_and_files_are_for_this_user_alone(tmp_path):
    """Whoever may write there decides what is champion."""
    former = os.umask(0)
    try:
        client.Tracking.connect(tmp_path)
    finally:
        os.umask(former)
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "mlartifacts").stat().st_mode & 0o777 == 0o700
