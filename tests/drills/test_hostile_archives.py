"""Damaged files of tables, tars and annotations: each is read, left out in part, or one line; never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.drills.mutated_forms import FORMS

TRIALS = 500


@pytest.mark.drills
@pytest.mark.drill(16, "damaged parquet, tars, COCO's files: records, rejections or one line", trials=TRIALS)
@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_of_a_form(form):
    command = [sys.executable, "-m", "tests.drills.mutated_forms", form, str(TRIALS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert sum(outcomes.values()) == TRIALS
    assert outcomes.keys() >= {"one line", "some left out"}, "the damage is of every kind"
