"""The examples of docs/records.md are real and run."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from tinygptv.data.record_json import parse_record
from tinygptv.data.records import TASKS
from tinygptv.data.shards import read_records, read_samples

PAGE = (Path(__file__).parents[2] / "docs" / "records.md").read_text()


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_sample_is_the_real_one(small_shards):
    shown = parse_record("5af8aad46ad380d52eaa453ed092c706", block("json").encode())
    real = next(read_records([small_shards / "train-000000.tar"]))
    assert shown.image == real.image
    assert set(shown.records) <= set(real.records)
    assert {record.task for record in shown.records} == set(TASKS) - {"conversation"}


def test_own_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (640, 480), "brown").save("cat.png")
    exec(block("python"), {})
    (sample,) = read_samples([Path("my-shards/train-000000.tar")])
    assert sample.record.records[0].turns[0].answer == "a cat on a chair"
