"""What DVC holds for done beside what the registry has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinygptv.config.profiles import Profile, read_config
from tinygptv.tracking import __main__ as command
from tinygptv.tracking import registered

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "tiny.yaml"
LOCK = """
schema: '2.0'
stages:
  quantize:
    cmd: x
    outs:
    - {path: data/tiny/quantize, hash: md5, md5: %s, size: 1, nfiles: 1}
  register:
    cmd: x
"""
MD5 = "fedcba9876543210fedcba9876543210.dir"


@pytest.fixture
def locked(root):
    """The lock of a finished pipeline, for the time of a test."""
    found = (root / "dvc.lock").read_text()
    (root / "dvc.lock").write_text(LOCK % MD5)
    yield root
    (root / "dvc.lock").write_text(found)


def test_a_package_that_the_registry_lacks(tracking, locked, monkeypatch, capsys):
    """A fresh clone's lock knows the step; its registry is empty until the flow has asked for the step again."""
    monkeypatch.chdir(locked)
    profile = Profile("tiny", 7, read_config(CONFIG))
    monkeypatch.setattr(command, "read_profile", lambda root, name: profile)
    name, client = profile.config.register_.model_name, tracking.mlflow

    def repeats() -> list[str]:
        assert command.main(["open-pipeline", "--id", "registered", "--profile", profile.name]) == 0
        return json.loads(capsys.readouterr().out)["repeat"]

    assert registered.held_for_done(locked) and repeats() == ["register"]
    client.create_registered_model(name)
    logged = client.create_logged_model(tracking.experiment(profile.name), name=name)
    client.create_model_version(name, f"models:/{logged.model_id}", tags={"dvc.md5": "of another package"})
    assert repeats() == ["register"]
    client.create_model_version(name, f"models:/{logged.model_id}", tags={"dvc.md5": MD5})
    assert repeats() == []


def test_nothing_is_repeated_that_was_never_done(root):
    assert not registered.held_for_done(root)
