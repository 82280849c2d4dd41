"""Promotions by VQA accuracy and by the area under a curve, in a real registry: better in, worse out, edits refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.promotion.conftest import copy
from tests.promotion.worlds import GATE, World, cache_of, earlier_steps, examine, make_root
from tinygptv.config import DataSet
from tinygptv.data.records import Turn
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.summary import tars
from tinygptv.ground import materials
from tinygptv.promotion.promote import promote
from tinygptv.tracking.client import Tracking

DATA = {
    "cats": DataSet(format="llava", files=("a.json",), licence="MIT", benchmark="vqa_accuracy"),
    "memes": DataSet(format="hateful_memes", files=("b.jsonl",), licence="MIT", benchmark="hateful_memes"),
}
LIMITS = GATE.model_copy(update={"min_value": {"cats": 0.7, "memes": 0.5}, "margin": {"cats": 0.02, "memes": 0.05}})


def of_people(record):
    """A record of ``cats``: ten people have answered, two of them wrongly."""
    if record.task != "vqa":
        return None
    turns = tuple(Turn(turn.question, turn.answer, ((turn.answer, 8.0), ("nothing", 2.0))) for turn in record.turns)
    return replace(record, dataset="cats", turns=turns)


def of_memes(record):
    """A record of ``memes``: yes or no, with what its files say."""
    answer = record.turns[0].answer
    if record.task != "vqa" or answer not in ("yes", "no"):
        return None
    return replace(record, dataset="memes", annotation={"answer": answer, "text": "well"})


def write(shards: Path, name: str, change) -> None:
    """The test images of easy-VQA as those of another data set."""
    samples = []
    for sample in read_samples(tars(shards / "easy_vqa", "test-*.tar")):
        records = tuple(made for record in sample.record.records if (made := change(record)) is not None)
        if records:
            samples.append(replace(sample, record=replace(sample.record, records=records)))
    write_shards(shards / name, "test", samples, images_per_shard=16)


@pytest.fixture(scope="module")
def made(small_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Version 1 is champion and answers 80 of a hundred right."""
    root = make_root(tmp_path_factory.mktemp("others") / "checkout", small_shards)
    shards = root / "data" / "tiny" / "shards"
    write(shards, "cats", of_people)
    write(shards, "memes", of_memes)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    tracking = Tracking.connect(root)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(materials, "cache_folder", cache_of)
        world = World(root, tracking, earlier_steps(tracking, shards), "tinygptv-others", LIMITS, DATA)
        assert world.register(80).aliases == ("challenger", "champion")
    copy(root / "mlflow.db", root / "before.db")
    return world


@pytest.fixture
def others(made: World) -> Iterator[World]:
    yield made
    copy(made.root / "before.db", made.root / "mlflow.db")
    shutil.rmtree(made.root / ".state" / "promoted", ignore_errors=True)


def test_a_better_model_is_promoted_by_both_numbers(others):
    done = others.register(95)
    assert done.decision.passed and done.aliases == ("challenger", "champion"), done.decision.reasons
    rows = {row.check: row for row in done.decision.rows}
    numbers, former = others.numbers(95), others.numbers(80)
    assert numbers["cats"]["official"].keys() == {"accuracy"} and numbers["memes"]["metric"] == "auroc"
    for name in DATA:
        reached, against = rows[name], rows[f"{name} against champion"]
        assert reached.value == pytest.approx(numbers[name]["value"], abs=1e-6)
        assert reached.champion == pytest.approx(former[name]["value"], abs=1e-6)
        assert reached.start == 0.05
        assert against.value > -LIMITS.margin[name]
    found = others.client.get_model_version(others.name, "2")
    assert "| memes | 0." in found.description and "| 0.0500 | auroc, n " in found.description
    assert "easy_vqa" not in found.description


def test_a_worse_model_is_refused_by_both(others):
    done = others.register(60)
    assert not done.decision.passed and done.aliases == ("challenger",)
    assert [reason.partition(": ")[0] for reason in done.decision.reasons] == [
        "cats against champion",
        "memes against champion",
    ]
    assert others.alias("champion") == "1"


@pytest.mark.parametrize("name", DATA)
def test_numbers_that_were_edited_are_refused(others, name):
    others.register(95, told={"value": 0.0})
    others.tell_the_truth("2", 95)
    honest = others.tags("2")
    record = json.loads(honest["record"])
    record["report"]["benchmarks"][name]["value"] = 0.7
    others.tag("2", "record", json.dumps(record))
    others.tag("2", f"metric.{name}", "0.7")
    refused = promote(others.root, others.profile, "2", examine)
    (reason,) = refused.decision.reasons
    assert reason.startswith(f"{name} as registered: the version carries 0.7000, measured were 0.")
    for tag in ("record", f"metric.{name}"):
        others.tag("2", tag, honest[tag])
    assert promote(others.root, others.profile, "2", examine).promoted
