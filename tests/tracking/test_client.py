"""The door to MLflow: an experiment that another checkout makes at the same moment."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_ALREADY_EXISTS

from tinygptv.tracking.client import Tracking


class Server:
    """Looked at twice, it has no experiment; at its creation somebody else was first."""

    def __init__(self, code: int) -> None:
        self._code = code
        self._answers = [None, None, SimpleNamespace(experiment_id="7")]

    def get_experiment_by_name(self, name):
        assert name == "tinygptv/tiny"
        return self._answers.pop(0)

    def create_experiment(self, name, artifact_location):
        assert artifact_location is None
        raise MlflowException("no", error_code=self._code)


def test_whoever_comes_second_takes_the_experiment_of_the_first(tmp_path):
    assert Tracking(tmp_path, "http://127.0.0.1:1", Server(RESOURCE_ALREADY_EXISTS)).experiment("tiny") == "7"


def test_other_refusals_are_passed_on(tmp_path):
    with pytest.raises(MlflowException):
        Tracking(tmp_path, "http://127.0.0.1:1", Server(INTERNAL_ERROR)).experiment("tiny")
