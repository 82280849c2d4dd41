from __future__ import annotations

import hashlib
import json

import pytest

from tests.own_data.conftest import write_llava
from tinygptv.config import DataSet
from tinygptv.data.records import Record, Turn
from tinygptv.data.source import Found
from tinygptv.ground.errors import DataError
from tinygptv.own_data import reading


def settings(folder, **more):
    given = {"format": "llava", "files": (str(folder / "cats.json"),), "images": str(folder / "my pictures")}
    return DataSet(**{**given, "licence": "MIT", "split": {"val": 0.1, "test": 0.2}, **more})


def test_everything_is_counted_and_nothing_left_behind(with_tiny, tmp_path):
    write_llava(tmp_path, 50, turns=3)
    before = sorted(with_tiny.rglob("*"))
    found = reading.read_set("cats", settings(tmp_path), with_tiny)
    assert (found.found, found.records, found.turns, found.texts) == (50, 50, 150, 0)
    assert sum(found.images.values()) == 50
    assert min(found.images.values()) > 0
    assert dict(found.tasks) == {"conversation": 50}
    assert [record.id for record in found.sample] == [f"r{number}" for number in range(50)]
    assert sorted(with_tiny.rglob("*")) == before


def test_what_is_left_out_is_counted_with_its_reason(with_tiny, tmp_path):
    path = write_llava(tmp_path, 12)
    records = json.loads(path.read_text())
    records[3]["image"] = "nosuch.png"
    records[4]["conversations"] = []
    path.write_text(json.dumps([*records, records[5]]))
    (tmp_path / "my pictures" / "7.png").write_bytes(b"\x89PNG no picture")
    found = reading.read_set("cats", settings(tmp_path), with_tiny)
    assert (found.found, found.records) == (13, 9)
    told = {one["id"]: one["reason"] for one in found.rejections.first}
    assert "nosuch.png" in told["r3"]
    assert "no question" in told["r4"]
    assert "PNG" in told["r7"] or "image" in told["r7"]
    assert {"r3", "r4", "r7"} & {record.id for record in found.sample} == set()


def test_a_missing_file_is_one_line(with_tiny, tmp_path):
    with pytest.raises(DataError, match=r"cats\.json is missing"):
        reading.read_set("cats", settings(tmp_path, images=""), with_tiny)


def found(number: int) -> Found:
    return Found(Record(f"r{number}", "vqa", (Turn("what?", "this"),)), b"no picture", "")


def test_of_many_records_some_are_kept_evenly(monkeypatch):
    monkeypatch.setattr(reading, "SAMPLE", 300)
    watch = reading._Watch()
    passed = list(watch.passing(found(number) for number in range(30_000)))
    numbers = [int(record.id[1:]) for record in watch.kept]
    assert len(numbers) == len(set(numbers)) == 300
    assert 100 < sum(number < 15_000 for number in numbers) < 200
    assert passed[0].image.sha256 == hashlib.sha256(b"no picture").hexdigest()
    assert set(watch.damaged) >= {f"r{number}" for number in numbers}
