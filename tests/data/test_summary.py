"""Shards written again: the folder holds what was written last, whole, and readers take nothing else."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tinygptv.data.shards import read_records, read_samples, write_shards
from tinygptv.data.summary import mend, sets, tars
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.files import read_json, sha256_file


@pytest.fixture
def samples(small_shards):
    return list(read_samples(sorted(small_shards.glob("train-*.tar"))))[:12]


def keys(folder: Path, split: str = "train") -> list[str]:
    return [record.key for record in read_records(tars(folder, f"{split}-*.tar"))]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_fewer_samples_leave_no_old_tars(samples, tmp_path):
    write_shards(tmp_path, "train", samples, images_per_shard=3)
    write_shards(tmp_path, "val", samples[:2], images_per_shard=3)
    paths = write_shards(tmp_path, "train", samples[:4], images_per_shard=3)
    assert sorted(tmp_path.glob("train-*.tar")) == paths
    assert keys(tmp_path) == [sample.key for sample in samples[:4]]
    assert keys(tmp_path, "val") == [sample.key for sample in samples[:2]]
    write_shards(tmp_path, "train", [], images_per_shard=3)
    assert keys(tmp_path) == []


def test_a_set_has_its_folder_and_an_earlier_versions_folder_is_one_set(samples, tmp_path):
    write_shards(tmp_path / "old", "train", samples, images_per_shard=3)
    assert sets(tmp_path / "old") == {"easy_vqa": tmp_path / "old"}
    new = tmp_path / "new"
    for name in ("cats", "birds"):
        write_shards(new / name, "train", samples[:1], images_per_shard=3)
    (new / "views").mkdir()
    (new / "summary.json").write_text("{}")
    assert sets(new) == {"birds": new / "birds", "cats": new / "cats"}


def test_what_is_made_again_is_not_made_of_damaged_blocks(tmp_path):
    advice = mend(tmp_path / "data" / "smoke" / "shards" / "cats")
    assert "`dvc repro -f -s shards`" in advice
    assert ".state/smoke/blocks/shards" in advice
    assert mend(tmp_path / "my" / "cats") == "write the folder again with `write_shards`"


def test_another_size_of_tars_and_the_same_samples(samples, tmp_path):
    write_shards(tmp_path, "train", samples, images_per_shard=2)
    write_shards(tmp_path, "train", samples, images_per_shard=12)
    assert [path.name for path in tars(tmp_path)] == ["train-000000.tar"]
    assert keys(tmp_path) == [sample.key for sample in samples]


def test_the_summary_counts_what_the_tars_hold(samples, tmp_path):
    write_shards(tmp_path / "new", "train", samples, images_per_shard=8)
    summary = read_json(tmp_path / "new" / "summary.json")
    assert summary["digests"] == {path.name: sha256_file(path) for path in (tmp_path / "new").glob("*.tar")}
    assert summary["splits"]["train"]["images"] == 12
    assert summary["records"] == sum(len(sample.record.records) for sample in samples)
    assert summary["rejected"] == 0


def test_foreign_files_stay(samples, tmp_path):
    write_shards(tmp_path, "train", samples, images_per_shard=3)
    for name in ("notes.txt", "backup.tar", "validation-000000.tar", "x-train-000000.tar"):
        (tmp_path / name).write_text("mine")
    write_shards(tmp_path, "train", samples[:4], images_per_shard=3)
    assert sorted(name for name, text in content(tmp_path).items() if text == b"mine") == [
        "backup.tar", "notes.txt", "validation-000000.tar", "x-train-000000.tar",
    ]  # fmt: skip
    assert len(keys(tmp_path)) == 4


def test_a_failed_second_write_leaves_the_first(samples, tmp_path):
    def failing():
        yield from samples[:5]
        raise RuntimeError

    write_shards(tmp_path, "train", samples, images_per_shard=3)
    before = content(tmp_path)
    with pytest.raises(RuntimeError):
        write_shards(tmp_path, "train", failing(), images_per_shard=2)
    assert content(tmp_path) == before


def test_samples_may_come_from_the_folder_itself(samples, tmp_path):
    write_shards(tmp_path, "train", samples, images_per_shard=5)
    wanted = {sample.key for sample in samples[::2]}
    old = read_samples(tars(tmp_path, "train-*.tar"))
    write_shards(tmp_path, "train", (sample for sample in old if sample.key in wanted), images_per_shard=2)
    assert keys(tmp_path) == [sample.key for sample in samples[::2]]


def stopped_write(folder, samples, calls):
    """Write in a process that is killed before it changes so many names and one more; gives how it ended."""

    def stop(event, arguments):
        nonlocal calls
        if event in ("os.rename", "os.remove") and folder in Path(os.fsdecode(arguments[0])).parents:
            calls -= 1
            if calls < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if (process := os.fork()) == 0:  # for twelve times, a new one would take seconds to import what this one has
        try:
            sys.addaudithook(stop)
            write_shards(folder, "train", samples, images_per_shard=2)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_kill_at_any_rename_leaves_old_or_new_or_a_refusal(samples, tmp_path):
    """Killed before each change of a name: what is read is one of the two writes, or nothing; then it works again."""
    seen, calls, code = set(), 0, -signal.SIGKILL
    while code != 0:
        folder = tmp_path / str(calls)
        write_shards(folder, "train", samples, images_per_shard=3)
        write_shards(folder, "val", samples[:2], images_per_shard=3)
        code = stopped_write(folder, samples[:4], calls)
        assert code in (0, -signal.SIGKILL)
        try:
            seen.add(len(keys(folder)))
        except DataError as error:
            assert str(folder) in str(error)
            seen.add(0)
        assert len(keys(folder, "val")) == 2
        write_shards(folder, "train", samples[:7], images_per_shard=3)
        assert keys(folder) == [sample.key for sample in samples[:7]]
        assert not [path for path in folder.iterdir() if path.is_dir()]
        calls += 1
    assert {4, 12} <= seen <= {0, 4, 12}


def test_a_tar_that_is_not_listed_is_refused(samples, tmp_path):
    write_shards(tmp_path, "train", samples[:4], images_per_shard=2)
    stale = tmp_path / "train-000007.tar"
    stale.write_bytes((tmp_path / "train-000000.tar").read_bytes())
    with pytest.raises(DataError, match=r"train-000007\.tar: summary\.json does not list it; remove it"):
        tars(tmp_path, "train-*.tar")
    assert tars(tmp_path, "val-*.tar") == []


def test_a_listed_tar_that_is_missing_is_refused(samples, tmp_path):
    write_shards(tmp_path, "train", samples[:4], images_per_shard=2)
    (tmp_path / "train-000001.tar").unlink()
    with pytest.raises(DataError, match=r"train-000001\.tar is missing"):
        tars(tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"digests": []}', '{"digests": {"a.tar": 7}}', "nonsense"])
def test_a_summary_of_another_form_is_refused_and_kept(samples, tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    for attempt in (lambda: tars(tmp_path), lambda: write_shards(tmp_path, "train", samples, images_per_shard=2)):
        with pytest.raises(DataError, match=r"summary\.json"):
            attempt()
    assert (tmp_path / "summary.json").read_text() == text


@pytest.mark.parametrize(("split", "count"), [("../train", 3), ("train-a", 3), ("", 3), ("train", 0), ("train", -1)])
def test_wrong_arguments_write_nothing(samples, tmp_path, split, count):
    with pytest.raises(UserError):
        write_shards(tmp_path, split, samples, images_per_shard=count)
    assert not list(tmp_path.iterdir())
