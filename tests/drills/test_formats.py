"""Files of every released version are opened for ever, and compute what they computed then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.drills.formats.look import look

FOLDER = Path(__file__).parent / "formats"
VERSIONS = sorted(path for path in FOLDER.iterdir() if path.name.startswith("v"))


def test_there_is_one():
    assert VERSIONS


@pytest.mark.drill(13, "checkpoints and packages of every released version")
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_files_of_a_version_are_opened(version):
    expected = json.loads((version / "expected.json").read_bytes())
    found = look(version)
    assert found["package"]["answer"] == expected["package"]["answer"]
    assert found["package"]["features"] == pytest.approx(expected["package"]["features"], abs=1e-4)
    assert found["stage"]["logits"] == pytest.approx(expected["stage"]["logits"], abs=1e-3)
    assert found["stage"]["curve"] == expected["stage"]["curve"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_the_files_are_small(version):
    assert sum(path.stat().st_size for path in version.rglob("*") if path.is_file()) < 400_000
