"""The step ``shards``: equal bytes however it is run, small changes cost little, bad records are counted."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path

import pytest

from tests.data.made import context, made_form, outputs, picture, rows_of, run, write_set  # noqa: F401 (a fixture)
from tests.data.texts import HARMLESS
from tinygptv.config import Loader
from tinygptv.config.profiles import read_config
from tinygptv.data.blocks import NOTE
from tinygptv.data.index import RecordIndex
from tinygptv.data.records import image_key
from tinygptv.data.rows import split_of
from tinygptv.data.shard_blocks import block_bits
from tinygptv.data.shards import read_records, read_samples
from tinygptv.data.summary import tars
from tinygptv.ground.errors import DataError, PassingError
from tinygptv.ground.files import read_json, sha256_file
from tinygptv.steps import shards as step

IMAGES = 100
ROOT = Path(__file__).parents[2]


def pictures(numbers, folder="pictures"):
    return {f"{folder}/{number}.png": picture(number) for number in numbers}


def cats(root, rows=None, files=None):
    """A data set of 100 pictures; 30 of them are handed over as bytes."""
    if rows is None:
        rows = rows_of(range(70)) + rows_of(range(70, IMAGES), "bytes")
    return write_set(root, "cats", rows, files or pictures(range(70)) | pictures(range(70, IMAGES), "bytes"))


@pytest.fixture(scope="module")
def reference(smoke, tmp_path_factory):
    """What the step writes of that set, in one go and one process."""
    root = tmp_path_factory.mktemp("reference")
    return run(context(root, smoke, {"cats": cats(root)}))


def blocks_of(root):
    """Name of a finished block → date of its note: which ones were made again."""
    notes = (root / "blocks").rglob(f"*{NOTE}")
    return {path.relative_to(root / "blocks").as_posix(): path.stat().st_mtime_ns for path in notes}


def again(made):
    """The context for a further run: DVC has removed the output, the harness the state."""
    for folder in (made.out, made.state):
        subprocess.run(["rm", "-rf", folder], check=True)
        folder.mkdir()
    return made


def test_outputs(reference, smoke, tmp_path, capsys):
    made = context(tmp_path, smoke, {"cats": cats(tmp_path)})
    found = run(made)
    assert found == reference
    summary = json.loads(found["cats/summary.json"])
    folder = made.out / "cats"
    samples = list(read_samples(tars(folder)))
    assert len(samples) == 110
    assert summary["records"] == sum(len(sample.record.records) for sample in samples) == 210
    assert summary["digests"] == {path.name: sha256_file(path) for path in folder.glob("*.tar")}
    assert summary["indexes"] == {split: sha256_file(folder / f"{split}.arrow") for split in ("train", "val", "test")}
    for split in ("train", "val", "test"):
        records = {record.id: record for of in read_records(tars(folder, f"{split}-*.tar")) for record in of.records}
        index = RecordIndex(folder / f"{split}.arrow")
        assert {record.id: record for record, _ in map(index.record, range(len(index)))} == records
        assert sum(samples for _, samples in index.blocks.values()) == summary["splits"][split]["images"] + sum(
            record.task == "conversation" for record in records.values()
        )
    whole = json.loads(found["summary.json"])
    assert (whole["records"], whole["rejected"]) == (210, 0)
    assert whole["sets"] == {"cats": summary["splits"]}
    assert json.loads(found["rejected.json"])["rejected"] == 0
    assert made.run.values["cats.train.images"] == summary["splits"]["train"]["images"]
    assert "cats: 0 of 210 records rejected" in capsys.readouterr().out


def test_samples_lie_by_content(reference, smoke, tmp_path):
    """A sample's split and tar follow from its key alone, and keys are sorted."""
    made = context(tmp_path, smoke, {"cats": cats(tmp_path)})
    run(made)
    keys = {path: [of.key for of in read_records([path])] for path in tars(made.out / "cats")}
    for path, found in keys.items():
        split, number = path.stem.split("-")
        total = sum(len(of) for other, of in keys.items() if other.name.startswith(split))
        bits = block_bits(total, 16)
        assert found == sorted(found)
        assert {split_of(key, {"val": 0.2, "test": 0.1}) for key in found} == {split}
        assert {int(key, 16) >> (128 - bits) for key in found} == {int(number)}


@pytest.mark.parametrize(
    ("samples", "bits"), [(0, 0), (1, 0), (16, 0), (17, 1), (32, 1), (33, 2), (64, 2), (65, 3), (5_400_000, 19)]
)
def test_blocks_are_a_power_of_two(samples, bits):
    assert block_bits(samples, 16) == bits


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_processes_changes_nothing(reference, smoke, tmp_path, workers):
    made = context(tmp_path, smoke, {"cats": cats(tmp_path)})
    made.config = made.config.model_copy(update={"loader": Loader(workers=workers, prefetch=2)})
    assert run(made) == reference


def test_a_second_run_makes_no_block_again(reference, smoke, tmp_path):
    made = context(tmp_path, smoke, {"cats": cats(tmp_path)})
    run(made)
    before = blocks_of(tmp_path)
    assert run(again(made)) == reference
    assert blocks_of(tmp_path) == before
    inode = (tmp_path / "blocks" / "cats" / "train-000000.tar").stat().st_ino
    assert (made.out / "cats" / "train-000000.tar").stat().st_ino == inode


@pytest.mark.parametrize("change", ["edit", "add", "remove", "picture"])
def test_a_change_in_one_percent_makes_the_blocks_concerned(smoke, tmp_path, change):
    """One image of 100; the result is that of a build from nothing, byte for byte."""
    rows, files = rows_of(range(IMAGES)), pictures(range(IMAGES))
    made = context(tmp_path, smoke, {"cats": cats(tmp_path, rows, files)})
    run(made)
    before = blocks_of(tmp_path)
    if change == "edit":
        rows[0]["texts"] = [["what is it?", "a cat"]]
    elif change == "add":
        rows[3:3] = rows_of(range(203, 204))  # early in the file: all others move
        files |= pictures(range(203, 204))
    elif change == "remove":
        rows = [row for row in rows if row.get("image") != "pictures/55.png"]
    else:
        files["pictures/7.png"] = picture(1007)
    changed = context(tmp_path, smoke, {"cats": cats(tmp_path, rows, files)})
    found = run(again(changed))
    after = blocks_of(tmp_path)
    again_made = {name for name in after if after[name] != before.get(name)}
    assert 1 <= len(again_made) <= (2 if change == "picture" else 1) < len(after)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert run(context(fresh, smoke, {"cats": cats(fresh, rows, files)})) == found


def test_code_of_tars_or_pillow_makes_all_again_but_no_other_code(smoke, tmp_path, monkeypatch):
    made = context(tmp_path, smoke, {"cats": cats(tmp_path)})
    run(made)
    before = blocks_of(tmp_path)
    for file in ("formats/llava", "tasks", "prompts", "views"):
        made.code[f"tinygptv/data/{file}.py"] = "another"
    run(again(made))
    assert blocks_of(tmp_path) == before
    made.code["tinygptv/data/images.py"] = "another"
    run(again(made))
    middle = blocks_of(tmp_path)
    assert not before.items() & middle.items()
    monkeypatch.setattr("PIL.__version__", "99")
    run(again(made))
    assert not middle.items() & blocks_of(tmp_path).items()


def test_an_image_of_several_sets_falls_alike(smoke, tmp_path):
    """Each set has its own folder, records and blocks; a set that is added changes none of the other's."""
    first = cats(tmp_path)
    made = context(tmp_path, smoke, {"cats": first})
    alone, before = run(made), blocks_of(tmp_path)
    rows = [{"id": f"dog {n}", "image": f"{n}.png", "texts": [["what?", "a dog"]]} for n in range(40)]
    dogs = write_set(tmp_path, "dogs", rows, {f"{n}.png": picture(n) for n in range(40)})
    both = run(again(context(tmp_path, smoke, {"cats": first, "dogs": dogs})))
    assert {name: content for name, content in both.items() if name.startswith("cats/")} == {
        name: content for name, content in alone.items() if name.startswith("cats/")
    }
    assert before.items() <= blocks_of(tmp_path).items()
    splits = {}
    for name in ("cats", "dogs"):
        for path in tars(tmp_path / "out" / name):
            for sample in read_records([path]):
                assert sample.dataset == name
                if sample.image is not None:
                    splits.setdefault(sample.key, set()).add(path.name.split("-")[0])
    assert all(len(found) == 1 for found in splits.values())
    assert read_json(tmp_path / "out" / "summary.json")["records"] == 210 + 40


def test_blocks_of_a_set_that_is_gone_are_removed(smoke, tmp_path):
    first, rows = cats(tmp_path), [{"id": "a", "image": "1.png", "texts": [["what?", "a dog"]]}]
    dogs = write_set(tmp_path, "dogs", rows, {"1.png": picture(1)})
    run(context(tmp_path, smoke, {"cats": first, "dogs": dogs}))
    run(again(context(tmp_path, smoke, {"cats": first})))
    assert not (tmp_path / "blocks" / "dogs").exists()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_an_image_keeps_its_bytes_whatever_it_is_called(smoke, tmp_path, kind):
    content = picture(1, kind, (40, 30))
    rows = [{"id": "a", "image": "photo.any", "texts": [["what?", "a cat"]], "split": "train"}]
    made = context(tmp_path, smoke, {"cats": write_set(tmp_path, "cats", rows, {"photo.any": content})})
    run(made)
    (sample,) = read_samples(tars(made.out / "cats"))
    info = sample.record.image
    assert sample.image_bytes == content
    assert info.file == f"{info.sha256[:32]}.{ {'JPEG': 'jpg', 'WEBP': 'webp', 'PNG': 'png'}[kind] }"
    assert (info.width, info.height) == (30, 40)
    assert sample.record.licence == "MIT"


BAD = {
    "answer is empty": {"id": "b1", "image": "pictures/3.png", "texts": [["what?", ""]]},
    "1000000 are the most": {"id": "b2", "image": "pictures/3.png", "texts": [["what?" * 200_001, "a cat"]]},
    "image pictures/4000.png does not exist": {"id": "b3", "image": "pictures/4000.png", "texts": [["a", "b"]]},
    "the id appears twice": {"id": "4-vqa", "image": "pictures/3.png", "texts": [["what?", "a cat"]]},
    "task vqa needs an image": {"id": "b5", "texts": [["what?", "a cat"]]},
}


@pytest.mark.drill(14, "rejected records: counted, listed, and a stop above the budget")
def test_every_bad_record_is_listed_and_counted(reference, smoke, tmp_path):
    rows = rows_of(range(70)) + rows_of(range(70, IMAGES), "bytes") + list(BAD.values())
    made = context(tmp_path, smoke, {"cats": cats(tmp_path, rows)}, max_rejected=0.05)
    found = run(made)
    rejected = json.loads(found["rejected.json"])["sets"]["cats"]
    assert rejected["rejected"] == rejected["listed"] == len(BAD)
    assert rejected["records"] == sorted(rejected["records"], key=lambda item: item["id"])
    for reason in BAD:
        assert sum(reason in item["reason"] for item in rejected["records"]) == 1
    assert json.loads(found["cats/summary.json"])["rejected"] == len(BAD)
    assert made.run.values["cats.rejected"] == len(BAD)
    for name in set(found) - {"rejected.json", "summary.json", "cats/summary.json"}:
        assert found[name] == reference[name]


def test_a_damaged_image_rejects_its_records(smoke, tmp_path):
    """Also where its block is found again; an image that nobody names costs nothing."""
    files = pictures(range(IMAGES)) | {"pictures/5.png": picture(5)[:-90], "pictures/6.png": b"no picture"}
    files["pictures/999.png"] = b"nor this"
    made = context(tmp_path, smoke, {"cats": cats(tmp_path, rows_of(range(IMAGES)), files)}, max_rejected=0.9)
    found = run(made)
    rejected = json.loads(found["rejected.json"])["sets"]["cats"]
    assert [item["id"] for item in rejected["records"]] == ["5-caption", "5-vqa", "6-caption", "6-vqa"]
    assert all("cannot be decoded" in item["reason"] for item in rejected["records"])
    assert json.loads(found["cats/summary.json"])["records"] == 206
    assert run(again(made)) == found


def test_blocks_without_a_sample_are_no_tars(smoke, tmp_path):
    rows = [{"id": str(n), "image": f"{n}.png", "texts": [["a", "b"]], "split": "train"} for n in range(20)]
    files = {f"{n}.png": picture(n) for n in range(20)}
    first = {name for name, content in files.items() if hashlib.sha256(content).digest()[0] < 128}
    assert first
    files |= {name: files[name][:-80] for name in first}
    first = {name for name, content in files.items() if hashlib.sha256(content).digest()[0] < 128}
    files |= {name: files[name][:40] for name in first}
    good = {image_key(hashlib.sha256(files[name]).hexdigest()) for name in files if len(files[name]) > 100}
    made = context(tmp_path, smoke, {"cats": write_set(tmp_path, "cats", rows, files)}, max_rejected=0.99)
    run(made)
    found = {of.key for of in read_records(tars(made.out / "cats"))}
    assert found <= good
    assert len(RecordIndex(made.out / "cats" / "train.arrow")) == len(found)
    assert len(RecordIndex(made.out / "cats" / "val.arrow")) == 0


@pytest.mark.drill(14, "rejected records: counted, listed, and a stop above the budget")
def test_budget_exceeded_stops_with_counts_and_reason(smoke, tmp_path):
    made = context(tmp_path, smoke, {"cats": cats(tmp_path, [*rows_of(range(9)), BAD["answer is empty"]])})
    with pytest.raises(
        DataError, match=r"^data set cats: 1 of 20 records rejected, more than shards\.max_rejected 0\.0 .*is empty"
    ):
        step.run(made)
    assert not list(made.out.iterdir())
    assert not made.blocks.exists()  # nor is an image looked at
    assert "answer is empty" in (made.state / step.REJECTED).read_text()


def test_the_budget_is_that_of_each_set(smoke, tmp_path):
    """A small set that is bad cannot hide behind a large one."""
    dogs = write_set(tmp_path, "dogs", [{"id": str(n), "texts": [["a", ""]], "task": "conversation"} for n in "ab"], {})
    made = context(tmp_path, smoke, {"cats": cats(tmp_path), "dogs": dogs}, max_rejected=0.2)
    with pytest.raises(DataError, match=r"^data set dogs: 2 of 2 records rejected"):
        step.run(made)


def test_a_set_may_have_a_budget_of_its_own(smoke, tmp_path):
    rows = [*rows_of(range(9)), BAD["answer is empty"]]
    lenient = cats(tmp_path, rows).model_copy(update={"max_rejected": 0.1})
    run(context(tmp_path, smoke, {"cats": lenient}))
    strict = lenient.model_copy(update={"max_rejected": 0.01})
    made = context(tmp_path, smoke, {"cats": strict}, max_rejected=0.9)
    with pytest.raises(DataError, match=r"1 of 20 records rejected, more than data\.cats\.max_rejected 0\.01 allows"):
        step.run(made)


def test_texts_of_a_set_are_processed_as_its_profile_says(smoke, tmp_path):
    rows = [{"id": "r", "image": "pictures/1.png", "texts": [["What IS it?!", "A Dog."]], "split": "train"}]
    rows.append(rows[0] | {"id": "s", "texts": [["What IS it?!", "..."]]})
    plain = write_set(tmp_path, "cats", rows, pictures(range(2)))
    made = context(tmp_path, smoke, {"cats": plain.model_copy(update={"blip_caption": ("answer",)})}, max_rejected=0.5)
    found = run(made)
    (sample,) = read_records(tars(made.out / "cats"))
    assert [(turn.question, turn.answer) for turn in sample.records[0].turns] == [("What IS it?!", "a dog")]
    (rejected,) = json.loads(found["rejected.json"])["sets"]["cats"]["records"]
    assert rejected == {"id": "s", "reason": "answer is empty: nothing in it can be seen"}


def test_a_set_without_records_is_named(smoke, tmp_path):
    made = context(tmp_path, smoke, {"cats": write_set(tmp_path, "cats", [], {})})
    with pytest.raises(DataError, match="data set cats has no records"):
        step.run(made)


def test_many_rejections_are_bounded(smoke, tmp_path):
    bad = [{"id": f"bad {n:05d}", "texts": [["a", ""]], "task": "conversation"} for n in range(3000)]
    made = context(tmp_path, smoke, {"cats": cats(tmp_path, rows_of(range(9)) + bad)}, max_rejected=0.1)
    with pytest.raises(DataError, match=r"the first is bad 00000: .*the first 1,000 are listed"):
        step.run(made)
    rejected = read_json(made.state / step.REJECTED)["sets"]["cats"]
    assert (rejected["rejected"], rejected["listed"]) == (3000, 1000)


def test_texts_are_taken_as_they_are(smoke, tmp_path):
    rows = [{"id": str(n), "image": "pictures/1.png", "texts": [[f"what? {t}", "a"]]} for n, t in enumerate(HARMLESS)]
    made = context(tmp_path, smoke, {"cats": cats(tmp_path, rows)})
    run(made)
    found = {turn.question for of in read_records(tars(made.out / "cats")) for r in of.records for turn in r.turns}
    assert found == {f"what? {text}" for text in HARMLESS}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_went_since_download_is_named(smoke, tmp_path, workers):
    made = context(tmp_path, smoke, {"cats": cats(tmp_path)})
    made.config = made.config.model_copy(update={"loader": Loader(workers=workers, prefetch=2)})
    (tmp_path / "cats" / "pictures" / "3.png").unlink()
    with pytest.raises(DataError, match=r"3\.png is missing, or is not what .download. saw; run .dvc repro download."):
        run(made)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.data import made
from tests.data.test_shards_step import cats, smoke_of
from tinygptv.config import Loader

def stop(event, arguments):
    global calls
    if event in ("os.rename", "os.remove", "os.mkdir", "os.link", "sqlite3.connect") and armed:
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    made.register()
    root, calls, armed = Path(sys.argv[1]), int(sys.argv[2]), False
    context = made.context(root, smoke_of(), {"cats": cats(root)})
    sys.addaudithook(stop)
    armed = True
    made.run(context)
"""


def smoke_of():
    return read_config(ROOT / "configs" / "smoke.yaml")


@pytest.mark.drill(1, "SIGKILL at changes of files of shards", trials=5)
def test_a_kill_costs_at_most_the_block_at_work(reference, tmp_path):
    """Killed before a change of the disk, again and again in the same folder: what was finished stays finished."""
    source, finished, kills = tmp_path / "program.py", {}, 0
    source.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WDS_SECURE": "1"}
    for calls in (2, 14, 25, 40, 61, 10_000):
        subprocess.run(["rm", "-rf", tmp_path / "out"], check=True)
        code = subprocess.run(
            [sys.executable, source, tmp_path, str(calls)], cwd=ROOT, env=environment, check=False
        ).returncode
        assert code == (0 if calls == 10_000 else -signal.SIGKILL)
        kills += code != 0
        now = blocks_of(tmp_path)
        assert finished.items() <= now.items()
        finished = now
    assert kills == 5
    assert outputs(tmp_path / "out") == reference


def test_sorted_records_are_kept_over_a_kill(smoke, tmp_path, monkeypatch):
    made = context(tmp_path, smoke, {"cats": cats(tmp_path)})

    def killed(*_):
        raise PassingError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(step, "make_blocks", killed)
        with pytest.raises(PassingError):
            run(made)
        monkeypatch.setattr(step.rows, "collect", killed)
    run(made)


def test_memory_does_not_grow_with_the_samples(smoke, tmp_path, monkeypatch, request):
    """Beside what a block needs: a note of each block."""
    monkeypatch.setattr("tinygptv.data.manifest._REMEMBERED", 64)
    request.addfinalizer(partial(gc.set_threshold, *gc.get_threshold()))
    gc.set_threshold(700, 10, 10)  # Python's own: what cycles hold is let go early
    peaks = []
    for images in (16, 100, 400):  # the first run imports
        root = tmp_path / str(images)
        root.mkdir()
        rows = [{"id": f"{n}", "image": f"{n}.png", "texts": [["what?" * 4000, f"number {n}"]]} for n in range(images)]
        files = {f"{n}.png": picture(n) for n in range(images)}
        made = context(root, smoke, {"cats": write_set(root, "cats", rows, files)})
        tracemalloc.start()
        step.run(made)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1]
