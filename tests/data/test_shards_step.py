"""The ``shards`` step: bad records are counted, listed and bounded."""

from __future__ import annotations

import json
import weakref

import pytest

from tests.data.texts import HARMLESS
from tinygptv.data import easy_vqa, sources
from tinygptv.data.shards import read_samples
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import sha256_file
from tinygptv.steps import shards as step


def prepare(files, folder):
    sources.write_download(folder / "download", sources.find_package(), files, "0" * 64)


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_questions(files, *questions):
    """The small data set with more training questions."""
    changed = dict(files)
    changed["train/questions.json"] = json.dumps(json.loads(files["train/questions.json"]) + list(questions)).encode()
    return changed


def test_outputs_and_rebuild(small_files, make_context, tmp_path, capsys):
    folders = []
    for name in ("one", "two"):
        prepare(small_files, tmp_path / name)
        context = make_context("shards", tmp_path / name)
        step.run(context)
        folders.append(context.out)
    assert outputs(folders[0]) == outputs(folders[1])
    summary = json.loads((folders[0] / "summary.json").read_bytes())
    assert {split: part["images"] for split, part in summary["splits"].items()} == {"train": 32, "val": 8, "test": 10}
    paths = sorted(folders[0].glob("*.tar"))
    assert summary["digests"] == {path.name: sha256_file(path) for path in paths}
    samples = list(read_samples(paths))
    assert sum(len(sample.record.records) for sample in samples) == summary["records"]
    assert (json.loads((folders[0] / "rejected.json").read_bytes()), summary["rejected"]) == ([], 0)
    assert context.run.values["train.images"] == 32
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:3]] == ["train", "val", "test"]


BAD = {
    "answer is empty": ["what shape is present?", "", 3],
    "1000000 are the most": ["what?" * 200_001, "circle", 3],
    "image 4000 does not exist": ["what shape is present?", "circle", 4000],
    "is not [question, answer, image number]": ["what shape is present?", 7, 3],
}


@pytest.mark.drill(14, "rejected records: counted, listed, and a stop above the budget")
def test_every_bad_record_is_listed_and_counted(small_files, make_context, tmp_path):
    prepare(with_questions(small_files, *BAD.values()), tmp_path)
    context = make_context("shards", max_rejected=0.05)
    step.run(context)
    rejected = json.loads((context.out / "rejected.json").read_bytes())
    assert rejected == sorted(rejected, key=lambda item: item["id"])
    assert len(rejected) == len(BAD)
    for reason in BAD:
        assert sum(reason in item["reason"] for item in rejected) == 1
    assert json.loads((context.out / "summary.json").read_bytes())["rejected"] == len(BAD)
    assert context.run.values["rejected"] == len(BAD)


def test_one_image_and_the_files_of_one_tar_are_in_memory(small_files, make_context, tmp_path, monkeypatch):
    prepare(small_files, tmp_path)
    seen, most = [], 0

    def read(*arguments, call=easy_vqa.read_image, **options):
        nonlocal most
        image = call(*arguments, **options)
        seen.append(weakref.ref(image))
        most = max(most, sum(found() is not None for found in seen))
        return image

    monkeypatch.setattr(easy_vqa, "read_image", read)
    step.run(make_context("shards"))
    assert len(seen) > 40
    assert most <= 3


def test_texts_are_taken_as_they_are(small_files, make_context, tmp_path):
    prepare(with_questions(small_files, *([f"what? {text}", "circle", 3] for text in HARMLESS)), tmp_path)
    context = make_context("shards")
    step.run(context)
    records = [
        record for sample in read_samples([context.out / "train-000000.tar"]) for record in sample.record.records
    ]
    assert {f"what? {text}" for text in HARMLESS} <= {turn.question for record in records for turn in record.turns}


def test_contradiction_and_damaged_image_reject_their_images(small_files, make_context, tmp_path):
    extra = [["is there a circle?", "yes", 3], ["is there a triangle?", "yes", 3]]
    files = with_questions(small_files, *extra)
    files["train/images/5.png"] = files["train/images/5.png"][:-30]
    prepare(files, tmp_path)
    context = make_context("shards", max_rejected=0.9)
    step.run(context)
    rejected = json.loads((context.out / "rejected.json").read_bytes())
    questions = json.loads(files["train/questions.json"])
    for number, reason in ((3, "contradict"), (5, "cannot be decoded")):
        own = [item for item in rejected if item["id"].startswith(f"train-{number:06d}-")]
        assert len(own) == sum(q[2] == number for q in questions)
        assert all(reason in item["reason"] for item in own)
    keys = {sample.key for sample in read_samples(sorted(context.out.glob("train-*.tar")))}
    assert {"train-000003", "train-000005"}.isdisjoint(keys)
    assert len(keys) == 30


@pytest.mark.drill(14, "rejected records: counted, listed, and a stop above the budget")
def test_budget_exceeded_stops_with_counts_and_reason(small_files, make_context, tmp_path):
    prepare(with_questions(small_files, BAD["answer is empty"]), tmp_path)
    context = make_context("shards")
    with pytest.raises(
        DataError, match=r"^1 of \d+ records rejected, more than shards\.max_rejected 0\.0 .*answer is empty"
    ):
        step.run(context)
    assert not list(context.out.iterdir())
    assert "answer is empty" in (context.state / step.REJECTED).read_text()


def test_damaged_download_is_named(small_files, make_context, tmp_path):
    prepare(small_files, tmp_path)
    tar = tmp_path / "download" / "train.tar"
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"train\.tar.*cut off.*dvc repro -f -s download"):
        step.run(make_context("shards"))
