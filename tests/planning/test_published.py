"""What the lock file of data sets says of a profile: images of each set and by whom counted, what is to be fetched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tinygptv.config.profiles import read_config
from tinygptv.fetching.sources import SOURCES, read_sources
from tinygptv.planning.data import Counted
from tinygptv.planning.published import published

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path):
    """A checkout without data."""
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / SOURCES, tmp_path / SOURCES)
    return tmp_path


def test_every_trained_set_of_the_paper_is_counted_and_says_by_whom(root, paper):
    counted, _ = published(root, paper.data)
    trained = {entry.partition("/")[0] for stage in (1, 2, 3, 4) for entry in paper.stage(f"stage{stage}").mixture}
    assert trained <= counted.keys()
    assert counted["laion"] == Counted(images=115_000_000, size=2_050_000_000_000, source="rounded")
    assert counted["cc_sbu_align"].images == 3439
    assert counted["cc_sbu_align"].source == "published"
    assert counted["unnatural_instruction"].images == 0


def test_a_set_has_at_most_its_records_or_the_pictures_that_it_is_about(root, paper):
    counted, _ = published(root, paper.data)
    train2014 = 13_510_573_713
    assert counted["coco_vqa"] == Counted(images=82_783, size=train2014, source="at most")
    assert counted["ok_vqa"] == Counted(images=9009, size=round(train2014 * 9009 / 82_783), source="at most")


def test_what_is_to_come_gets_less(root, paper):
    _, first = published(root, paper.data)
    sources = read_sources(root / SOURCES)
    assert first.size == sum(file.size or 0 for source in sources.values() for file in source.files)
    assert first.pictures == 115_000_000 + 14_000_000 + 207_572
    assert first.hours > first.pictures / 100 / 3600
    for place in ("coco/train2014/1.jpg", "hateful_memes/dev_seen.jsonl"):
        path = root / "data/raw" / place
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    _, then = published(root, paper.data)
    assert (first.files - then.files, first.size - then.size) == (1, 13_510_573_713)
    assert first.by_hand - then.by_hand == 1


def test_a_profile_of_ones_own_has_nothing_to_fetch(root):
    assert published(root, read_config(ROOT / "configs" / "tiny.yaml").data) == ({}, None)
    (root / SOURCES).unlink()
    assert published(root, read_config(ROOT / "configs" / "paper.yaml").data) == ({}, None)
