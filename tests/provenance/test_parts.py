"""Parts of a step made again by the step's own code, and compared with what is on record."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date

import pytest

from tests.checkouts import Checkout
from tinygptv.config.profiles import read_profile
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json, write_json
from tinygptv.provenance.parts import made_again
from tinygptv.provenance.sample import PARTS, WeeklyDraw

SAMPLE = WeeklyDraw(date(2026, 11, 29), 7, 0.0)


@pytest.fixture
def trained(with_stage1, tmp_path):
    return Checkout(shutil.copytree(with_stage1.root, tmp_path / "trained"))


def look(checkout, step, sample=SAMPLE):
    return made_again(checkout.root, read_profile(checkout.root, "smoke"), step, sample)


def test_batches_of_a_stage(trained):
    found = look(trained, "stage1")
    assert found["total"] == trained.config.stage1.steps and found["differing"] == []
    assert 0 < len(found["looked_at"]) <= PARTS
    trace = trained.data / "stage1" / "trace.jsonl"
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    number = found["looked_at"][0]
    lines[number]["batch"] = "0" * 16
    trace.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (told,) = look(trained, "stage1")["differing"]
    assert told.startswith(f"batch of training step {number + 1}: {'0' * 16} (lock), ")
    trace.unlink()
    with pytest.raises(DataError, match="stage1 has no record of its steps"):
        look(trained, "stage1")


def test_blocks_of_features(trained):
    found = look(trained, "features")
    assert found["total"] > 2 and found["looked_at"] and found["differing"] == []
    for view in (trained.data / "features" / "views").iterdir():
        content = read_json(view)
        for facts in content["sets"]["easy_vqa"].values():
            facts["sha256"] = "0" * 64
        write_json(view, content)
    assert len(look(trained, "features")["differing"]) == len(found["looked_at"])
    other = replace(SAMPLE, seed=8)
    assert look(trained, "features", other)["looked_at"] != found["looked_at"] or found["total"] <= PARTS
