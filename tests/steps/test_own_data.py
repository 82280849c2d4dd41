"""A data set of one's own, in LLaVA's form, beside easy-VQA: from its files to the last stage."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo
from PIL import Image, ImageDraw

from tests.checkouts import ROOT, Checkout, make_stage1, new_root
from tinygptv.data.views import open_view
from tinygptv.ground.file_names import TRAINED
from tinygptv.ground.files import read_json
from tinygptv.ground.names import STAGES

SMALL, WHOLE = 12, 200
TEXTS = 4
"""Records without a picture."""
COLOURS = ("red", "green", "blue", "black")


def write_pets(root, count):
    """So many different pictures, each with a conversation about it, and some without."""
    entries = []
    for number in range(count):
        colour = COLOURS[number % len(COLOURS)]
        picture = Image.new("RGB", (40 + number % 7, 30), "white")
        ImageDraw.Draw(picture).ellipse((number % 20, 2, 12 + number % 20, 14), fill=colour)
        picture.putpixel((39, 29), (number % 256, number // 256, 1))  # no two are alike
        path = root / "pets" / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        said = [("human", "<image>\nWhat colour is it?"), ("gpt", colour), ("human", "Is it round?"), ("gpt", "yes")]
        turns = [{"from": who, "value": text} for who, text in said]
        entries.append({"id": number, "image": f"{number % 3}/{number}.png", "conversations": turns})
    for number in range(TEXTS):
        turns = [{"from": "human", "value": f"Count to {number}."}, {"from": "gpt", "value": "one two"}]
        entries.append({"id": f"text-{number}", "conversations": turns})
    (root / "pets.json").write_text(json.dumps(entries))


def with_pets(root, count):
    """A checkout whose profile has them: trained in every stage, from stage 3 on beside easy-VQA."""
    made = Checkout(new_root(root))
    write_pets(made.root, count)
    made.edit(
        "\ndata:\n",
        "\ndata:\n  pets: {format: llava, files: [pets.json], images: pets/, split: {val: 0.2}, licence: CC0-1.0}\n",
    )
    made.edit("mixture: {easy_vqa/caption: 1.0}", "mixture: {easy_vqa/caption: 1.0, pets: 1.0}")
    made.edit("mixture: {easy_vqa/align: 1.0}", "mixture: {easy_vqa/align: 1.0, pets: 1.0}")
    made.edit("    easy_vqa/vqa: 72\n", "    easy_vqa/vqa: 72\n    pets: 100\n")
    return made


@pytest.fixture
def small(tmp_path):
    return with_pets(tmp_path / "checkout", SMALL)


def summary_of(made):
    return read_json(made.data / "shards" / "pets" / "summary.json")


def test_from_files_to_shards_and_after_an_edit(small, run, refused):
    for step in ("download", "shards"):
        assert run(small, step) == 0
    summary = summary_of(small)
    assert (summary["records"], summary["rejected"]) == (SMALL + TEXTS, 0)
    images = sum(split["images"] for split in summary["splits"].values())
    assert images == SMALL
    indexes = {step: open_view(small.data / "shards", step) for step in ("stage1", "stage4", "backbones")}
    assert {step: sorted(view) for step, view in indexes.items()} == {
        "stage1": ["easy_vqa", "pets"],
        "stage4": ["easy_vqa", "pets"],
        "backbones": ["easy_vqa"],
    }
    index = indexes["stage1"]["pets"]["train"]
    records = [index.record(row) for row in range(len(index))]
    assert {record.dataset for record, _ in records} == {"pets"}
    assert sum(image is None for _, image in records) <= TEXTS
    assert {len(record.turns) for record, image in records if image is not None} == {2}

    before = small.outputs()
    path = small.root / "pets.json"
    entries = json.loads(path.read_text())
    entries[0]["conversations"][1]["value"] = "a red one"
    path.write_text(json.dumps(entries))
    refused(small, "shards", "pets.json was changed since `download`", "dvc repro download")
    for step in ("download", "shards"):
        assert run(small, step) == 0
    changed = {name for name, content in small.outputs().items() if before.get(name) != content}
    assert not [name for name in changed if "easy_vqa" in name]
    assert len([name for name in changed if name.endswith(".tar")]) == 1
    assert summary_of(small)["records"] == SMALL + TEXTS


def test_what_cannot_be_trained_is_told(small, run, refused):
    path = small.root / "pets.json"
    entries = json.loads(path.read_text())
    (small.root / "pets" / "1" / "4.png").write_bytes(b"no picture")
    assert run(small, "download") == 0
    refused(small, "shards", "data set pets: 1 of 16 records rejected", "the first is 4: ")
    entries[3]["image"] = "0/none.png"
    path.write_text(json.dumps(entries))
    assert run(small, "download") == 0
    refused(small, "shards", "data set pets: 1 of 16 records rejected", "the first is 3: its picture '0/none.png'")
    path.write_text(json.dumps(entries)[:-9])
    assert run(small, "download") == 0
    refused(small, "shards", "pets.json, line 1, column", "not valid JSON")


def test_pictures_in_one_place_and_no_copy_of_them(small, run):
    assert run(small, "download") == 0
    assert {path.suffix for path in (small.data / "download").rglob("*") if path.is_file()} == {".json-lines", ".json"}
    (small.root / "pets" / "0" / "0.png").unlink()
    assert run(small, "shards") == 2


@pytest.fixture
def dvc_sees(tmp_path, run, monkeypatch):
    """``dvc_sees(checkout)``: run ``download``, and ``shards`` if it must; the steps behind it that must run again."""

    def changed(repo):
        status = [
            (stage.name, change) for stage in repo.index.stages for change in stage.status().get(stage.addressing, [])
        ]
        return {name for name, change in status if "changed deps" in change} - {"download"}

    def ask(made):
        assert run(made, "download") == 0
        with Repo(str(made.root)) as repo, repo.lock:
            if "shards" not in changed(repo):
                return changed(repo)
        assert run(made, "shards") == 0
        with Repo(str(made.root)) as repo, repo.lock:
            return changed(repo)  # of the lock, which has the former shards

    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return ask


@pytest.fixture
def finished(tmp_path, run, monkeypatch):
    """A checkout of which DVC has every result: of ``download`` and ``shards`` the real ones, the others stand in."""
    made = with_pets(tmp_path / "checkout", SMALL)
    made.edit("    pets: 100\n", "")  # stages 1 to 3 alone
    for name in ("src", "configs/backbones.lock.json"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, made.root / name)
    subprocess.run(["git", "init", "-q"], cwd=made.root, check=True)
    monkeypatch.chdir(made.root)
    Repo.init(str(made.root)).close()
    for step in ("download", "shards"):
        assert run(made, step) == 0
    with Repo(str(made.root)) as repo:
        for output in (*repo.index.outs, *(dep for stage in repo.index.stages for dep in stage.deps)):
            path = Path(output.fs_path)
            if not path.exists():
                made_up = path if path.suffix else path / "manifest.json"
                made_up.parent.mkdir(parents=True, exist_ok=True)
                made_up.write_text(path.name)
        repo.commit(force=True)
    return made


def test_what_runs_again_after_an_edit_of_the_data(finished, dvc_sees):
    assert dvc_sees(finished) == set()
    path = finished.root / "pets.json"
    path.write_text(path.read_text().replace('"one two"', '"one"', 1))
    after = {"shards", "features", "stage1", "stage2", "stage3", "evaluate", "quantize"}
    assert dvc_sees(finished) == after, "neither stage 4 nor the stand-ins use the set"


def test_a_picture_that_no_record_names_changes_no_shards(finished, dvc_sees):
    (finished.root / "pets" / "more.png").write_bytes(b"")
    assert dvc_sees(finished) == {"shards"}


def test_a_set_that_stage_4_gets_concerns_no_earlier_stage(finished, dvc_sees):
    finished.edit("    easy_vqa/vqa: 72\n", "    easy_vqa/vqa: 71\n")
    assert dvc_sees(finished) == {"stage4"}, "a weight decides no shards"
    finished.edit("    easy_vqa/vqa: 71\n", "    easy_vqa/vqa: 72\n    more: 3\n")
    finished.edit("\ndata:\n", "\ndata:\n  more: {format: llava, files: [more.json], images: pets, licence: MIT}\n")
    shutil.copy(finished.root / "pets.json", finished.root / "more.json")
    assert dvc_sees(finished) == {"shards", "features", "stage4", "evaluate", "quantize"}


def test_200_pictures_to_the_last_stage(tmp_path, run, patches, capsys):
    raw = with_pets(tmp_path / "raw", WHOLE)
    for step in ("download", "shards"):
        assert run(raw, step) == 0
    assert summary_of(raw)["records"] == WHOLE + TEXTS
    made = make_stage1(tmp_path / "checkout", raw, patches)
    for stage in STAGES[1:]:
        assert run(made, stage) == 0
    weights = {stage: (made.data / stage / TRAINED).read_bytes() for stage in STAGES}
    assert len(set(weights.values())) == len(STAGES)
    features = read_json(made.data / "features" / "views" / "stage4.json")
    assert sorted(features["sets"]) == ["easy_vqa", "pets"]

    # Pictures more, which the other set has too: no row is encoded.
    entries = json.loads((made.root / "pets.json").read_text())
    for number in range(5):
        name = f"new-{number}.png"
        shutil.copy(made.root / "raw" / "train" / "images" / f"{number}.png", made.root / "pets" / name)
        entries.append({**entries[0], "id": name, "image": name})
    (made.root / "pets.json").write_text(json.dumps(entries))
    capsys.readouterr()
    for step in ("download", "shards", "features", "stage4"):
        assert run(made, step) == 0
    assert re.search(r"features: 0 of \d+ rows encoded", capsys.readouterr().out)
    assert (made.data / "stage4" / TRAINED).read_bytes() != weights["stage4"]
