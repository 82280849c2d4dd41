"""Fixtures that several packages of tests share: a small real data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tinygptv.data import easy_vqa, shards, sources
from tinygptv.steps.shards import sift

TRAIN_IMAGES, TEST_IMAGES, VAL_IMAGES = 40, 10, 8


@pytest.fixture(scope="session")
def small_files() -> dict[str, bytes]:
    """The first images of easy-VQA with their questions, named as in the package."""
    data = sources.find_package().data
    files = {"answers.txt": (data / "answers.txt").read_bytes()}
    for split, count in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
        questions = json.loads((data / split / "questions.json").read_bytes())
        files[f"{split}/questions.json"] = json.dumps([q for q in questions if q[2] < count]).encode()
        for number in range(count):
            files[f"{split}/images/{number}.png"] = (data / split / "images" / f"{number}.png").read_bytes()
    return files


@pytest.fixture(scope="session")
def small_download(small_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``download`` writes for the small data set. Read only."""
    folder = tmp_path_factory.mktemp("data") / "download"
    sources.write_download(folder, sources.find_package(), small_files, sources.digest(small_files))
    return folder


@pytest.fixture(scope="session")
def small_shards(small_download: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the small data set, without ``summary.json``. Read only."""
    folder = tmp_path_factory.mktemp("data") / "shards"
    folder.mkdir()
    samples, _ = sift(easy_vqa.read_candidates(small_download, VAL_IMAGES))
    for split, part in samples.items():
        shards.write_shards(folder, split, part, images_per_shard=16)
    return folder
