"""500 mutated files of each form: records, counted rejections, or one line; never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drills.mutated_forms import READ, REFUSED, outcomes
from tests.drills.plugin import Trials
from tests.drills.small_sets import FORMS, OFFICIAL
from tinygptv.config.formats import FORMATS

FEW, TRIALS = 4, 500


def test_every_form_has_its_small_set() -> None:
    assert sorted(FORMS) == sorted(FORMATS), "tests/drills/small_sets.py"


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the official files, which are written once."""
    return tmp_path_factory.mktemp("official")


@pytest.mark.drill(17, "mutated files of each form: no traceback")
@pytest.mark.parametrize("form", FORMS)
def test_a_few_mutated_files(form: str, tmp_path: Path, official: Path, trials: Trials) -> None:
    trials.count = sum(outcomes(form, official if form in OFFICIAL else tmp_path, FEW).values())
    assert trials.count == FEW


@pytest.mark.drills
@pytest.mark.drill(17, "mutated files of each form: no traceback", trials=TRIALS)
@pytest.mark.parametrize("form", FORMS)
def test_mutated_files(form: str) -> None:
    command = [sys.executable, "-m", "tests.drills.mutated_forms", form, str(TRIALS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert sum(found.values()) == TRIALS
    assert found[REFUSED] < TRIALS > found[READ], f"mutations have no bite: {found}"
