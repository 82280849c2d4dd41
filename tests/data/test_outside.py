"""Pictures out of the folder of images: refused, or, where the profile allows it, seen by `download` and read."""

from __future__ import annotations

import json

import pytest

from tests.data.formats.official import draw
from tinygptv.config import DataSet
from tinygptv.data.manifest import RawManifest
from tinygptv.data.source import form, open_source, raw_files
from tinygptv.ground.digests import DigestMemory
from tinygptv.steps.download import look


@pytest.fixture
def root(tmp_path):
    """A checkout with ``pictures/1.png``, a sibling ``more/2.png``, and ``away/3.png`` outside of it."""
    for number, name in enumerate(("top/pictures/1.png", "top/more/2.png", "away/3.png", "away/untold.png")):
        draw(tmp_path / name, number)
    return tmp_path / "top"


def read(root, images, settings):
    """Names of the pictures that records have, reasons, and names in the manifest."""
    entries = [{"id": str(number), "image": name, "caption": f"no. {number}"} for number, name in enumerate(images)]
    (root / "own.json").write_text(json.dumps(entries))
    with DigestMemory.opened() as memory:
        look(root / "manifest", "own", settings, root, memory)
    items = list(form(settings).read(open_source("own", settings, root, root / "manifest")))
    found = {item.record.id: item.image for item in items if not isinstance(item, dict)}
    reasons = {item["id"]: item["reason"] for item in items if isinstance(item, dict)}
    return found, reasons, [file.name for file in RawManifest(root / "manifest")]


def own(**keys):
    return DataSet(**{"format": "pairs", "files": ("own.json",), "images": "pictures", "licence": "MIT", **keys})


def test_they_are_refused_and_not_looked_at(root):
    away = str(root.parent / "away" / "3.png")
    found, reasons, seen = read(root, ["1.png", "../more/2.png", away], own())
    assert list(found) == ["0"]
    assert all(reason.endswith("name a file below it, or set `outside: allow`") for reason in reasons.values())
    assert seen == ["own.json", "pictures/1.png"]


def test_where_they_are_allowed_the_manifest_has_those_that_records_name(root):
    away = str(root.parent / "away" / "3.png")
    names = ["1.png", "../more/2.png", away, "../more/9.png", "x/" * 3000, "../\0", str(root / "pictures" / "1.png")]
    found, reasons, seen = read(root, names, own(outside="allow"))
    assert seen == sorted([away, "own.json", "pictures/../more/2.png", "pictures/1.png"])
    assert {name: image.path.resolve().name for name, image in found.items()} == {
        "0": "1.png", "1": "2.png", "2": "3.png", "6": "1.png",
    }  # fmt: skip
    assert all(len(image.sha256) == 64 and image.read() for image in found.values())
    assert reasons["3"] == "its picture '../more/9.png' is not there"
    assert set(reasons) == {"3", "4", "5"}


def test_a_change_of_one_is_seen(root):
    settings = own(outside="allow")
    read(root, ["../more/2.png"], settings)
    before = (root / "manifest").read_bytes()
    draw(root / "more" / "2.png", 77)
    read(root, ["../more/2.png"], settings)
    assert (root / "manifest").read_bytes() != before


def test_absolute_names_need_no_folder(root):
    away = str(root.parent / "away" / "3.png")
    found, reasons, seen = read(root, [away, "1.png"], own(outside="allow", images=""))
    assert list(found) == ["0"]
    assert reasons == {"1": "names the picture '1.png', but the data set has no folder `images`"}
    assert seen == sorted([away, "own.json"])


def test_a_link_below_the_folder_lies_in_it(root):
    (root / "pictures" / "linked.png").symlink_to(root.parent / "away" / "3.png")
    (root / "pictures" / "folder").symlink_to(root / "more")
    found, reasons, _ = read(root, ["linked.png", "folder/2.png"], own())
    assert (list(found), reasons) == (["0", "1"], {})


def test_two_dots_after_a_link_lead_where_the_system_goes(root):
    (root / "pictures" / "folder").symlink_to(root.parent / "away")
    found, _, seen = read(root, ["folder/../top/more/2.png"], own(outside="allow"))
    assert found["0"].read() == (root / "more" / "2.png").read_bytes()
    assert "pictures/folder/../top/more/2.png" in seen


TALK = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat."}]
ENTRIES = {
    "llava": {"id": "a", "image": "../more/2.png", "conversations": TALK},
    "messages": {"query": "What?", "response": "A cat.", "images": "../more/2.png"},
    "questions": {"id": "a", "image": "../more/2.png", "question": "What?", "answer": "a cat"},
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_form_of_named_pictures_knows_them(root, name):
    settings = own(outside="allow", format=name)
    (root / "own.json").write_text(json.dumps([ENTRIES[name]]))
    assert [file for file, _ in raw_files(settings, root)] == ["own.json", "pictures/../more/2.png", "pictures/1.png"]
