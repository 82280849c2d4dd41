"""The power goes at any moment, and takes with it what was not flushed: what is found is the old state or the new."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from tests.checkouts import Checkout
from tests.drills import aftermath
from tests.drills.power import Disk
from tinygptv.ground import files

MIXTURES = 4
"""Mixtures of surviving and lost changes that are drawn for each moment."""


def found_after(disk, folder, check) -> int:
    """Check every state that a power cut may leave; how many there were."""
    count = 0
    for number, cut in enumerate(disk.cuts):
        states = [(None, False), (None, True), *((random.Random(f"{number}/{n}"), False) for n in range(MIXTURES))]
        for source, all_names in states:
            left = cut.leave(folder / "left", source, all_names=all_names)
            kind = "all names" if all_names else "sure" if source is None else "a mixture"
            check(left, f"cut {number}, after {cut.after}: {kind}")
            shutil.rmtree(left)
            count += 1
    assert count
    return count


@pytest.mark.drill(7, "power loss while a file is written")
def test_a_file_is_old_or_new(tmp_path, trials):
    root = tmp_path / "disk"
    root.mkdir()
    files.write_json(root / "x.json", {"state": "old", "fill": "o" * 5000})
    disk = Disk(root)
    with disk.watch():
        files.write_json(root / "x.json", {"state": "new", "fill": "n" * 9000})
    seen = set()

    def check(left, when):
        content = json.loads((left / "x.json").read_bytes())
        assert content["fill"] == content["state"][0] * (5000 if content["state"] == "old" else 9000), when
        seen.add(content["state"])

    trials.count = found_after(disk, tmp_path, check)
    assert seen == {"old", "new"}
    assert json.loads((disk.cuts[-1].leave(tmp_path / "end", None) / "x.json").read_bytes())["state"] == "new"


def write(folder, **content):
    folder.mkdir(parents=True)
    for name, text in content.items():
        (folder / name).write_text(text)


@pytest.mark.drill(7, "power loss while a folder is put in place")
@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "one after the other"])
def test_a_folder_is_old_or_new(tmp_path, monkeypatch, trials, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, two: False)
    root = tmp_path / "disk"
    write(root / "data" / "step", a="old" * 999, b="old")
    disk = Disk(root)
    with disk.watch():
        write(root / "staging", a="new" * 2000, c="new")
        files.replace_folder(root / "staging", root / "data" / "step")
    states = ({"a": "old" * 999, "b": "old"}, {"a": "new" * 2000, "c": "new"})
    seen = set()

    def check(left, when):
        place = left / "data" / "step"
        if not exchange and not place.exists():
            return  # said in replace_folder
        found = {path.name: path.read_text() for path in place.iterdir()}
        assert found in states, when
        seen.add(states.index(found))

    trials.count = found_after(disk, tmp_path, check)
    assert seen == {0, 1}
    assert (disk.cuts[-1].leave(tmp_path / "end", None) / "data" / "step" / "c").read_text() == "new"


INPUTS = ("data/smoke/download", "data/smoke/shards", "data/smoke/backbones", "data/smoke/features")
LEFT_OUT = (*INPUTS, "configs", "dvc.yaml", "params.yaml")


@pytest.mark.drills
@pytest.mark.drill(7, "power loss while a stage trains and saves")
def test_a_stage_finds_a_whole_point_or_a_whole_result(checkout, with_stage1, run, trials, tmp_path):
    """A result is whole or absent; and as long as it is absent, a point that was once sure is there, or a newer one."""
    shutil.rmtree(checkout.data / "stage1")
    shutil.rmtree(checkout.state)
    disk = Disk(checkout.root, frozenset(checkout.root / name for name in LEFT_OUT))
    with disk.watch():
        assert run(checkout, "stage1") == 0
    expected = aftermath.results(with_stage1, "stage1")
    sure = [0]
    published = [False]

    def check(left, when):
        found = Checkout(left)
        if aftermath.published(found, "stage1"):
            assert aftermath.results(found, "stage1") == expected, when
            published[0] = True
        elif not published[0]:  # else its points may go
            newest = aftermath.newest_point(found, "stage1")
            assert newest >= sure[0], when
            if when.endswith("sure"):
                sure[0] = newest

    trials.count = found_after(disk, tmp_path, check)
    assert sure == [8]
    for number in random.Random(1).sample(range(len(disk.cuts)), 20):
        again = Checkout(disk.cuts[number].leave(tmp_path / f"again{number}", random.Random(number)))
        for name in LEFT_OUT:
            (again.root / name).parent.mkdir(parents=True, exist_ok=True)
            source = checkout.root / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, again.root / name)
        assert run(again, "stage1") == 0
        assert aftermath.results(again, "stage1") == expected
        trials.count += 1
