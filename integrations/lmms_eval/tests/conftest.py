"""The tiny profile of the checkout, as `make demo` left it: its packed model, its test questions, its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tinygptv.data.records import ImageSample, Record
from tinygptv.data.samples import Samples
from tinygptv.data.shards import write_shards
from tinygptv.ground.files import read_json
from tinygptv.model.inference import VisionLanguageModel
from tinygptv_lmms.data import write_tasks

ROOT = Path(__file__).parents[3]
QUANTIZE = ROOT / "data" / "tiny" / "quantize"
QUESTIONS = 120
"""Of each task, in the tests; docs/lmms_eval.md has the log of all of them."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def package() -> Path:
    """The 8-bit model."""
    folder = QUANTIZE / "model"
    assert folder.is_dir(), f"{folder} is missing; run `make demo` first"
    return folder


@pytest.fixture(scope="session")
def model(package) -> VisionLanguageModel:
    return VisionLanguageModel.from_folder(package)


@pytest.fixture(scope="session")
def tasks(package, tmp_path_factory) -> Path:
    """A folder of tasks."""
    folder = tmp_path_factory.mktemp("lmms") / "tasks"
    write_tasks(ROOT, "tiny", folder, QUESTIONS)
    return folder


@pytest.fixture(scope="session")
def answers(package) -> dict[str, str]:
    """Record → what the step `quantize` got for an answer."""
    return {said["record"]: said["answer"] for said in read_json(QUANTIZE / "predictions.json")}


@pytest.fixture(scope="session")
def own_checkout(package, tmp_path_factory) -> Path:
    """A checkout whose profile asks a set of one's own as well, by likelihood: easy-VQA's yes/no questions."""
    root = tmp_path_factory.mktemp("own")
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text("profile: own\nseed: 1\n")
    (root / "configs").mkdir()
    yaml = YAML()
    profile = yaml.load(ROOT / "configs" / "tiny.yaml")
    own = {"format": "records", "files": ["own"], "licence": "MIT", "split": {"test": 1.0}, "benchmark": "yes_no"}
    profile["data"]["own"] = own
    profile["evaluate"]["benchmarks"] = ["easy_vqa", "own"]
    yaml.dump(profile, root / "configs" / "own.yaml")
    shards = root / "data" / "own" / "shards"
    shards.mkdir(parents=True)
    (shards / "easy_vqa").symlink_to(ROOT / "data" / "tiny" / "shards" / "easy_vqa")
    write_shards(shards / "own", "test", islice(yes_or_no_questions(), 40), images_per_shard=100)
    return root


def yes_or_no_questions() -> Iterator[ImageSample]:
    """Test images of easy-VQA with their yes/no questions alone, as another set."""

    def own(record: Record) -> bool:
        return record.task == "vqa" and record.turns[0].answer in ("yes", "no")

    tars = sorted((ROOT / "data" / "tiny" / "shards" / "easy_vqa").glob("test-*.tar"))
    samples = Samples({"easy_vqa": tars})
    for record in samples.records():
        sample = samples.read("easy_vqa", record.key)
        records = tuple(replace(asked, dataset="own") for asked in record.records if own(asked))
        if records:
            yield replace(sample, record=replace(record, records=records))
