"""Pins come from the hub once, and do not move."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest

from tinygptv.config import Published
from tinygptv.ground.errors import EXIT_PASSING, DataError
from tinygptv.model.upstream import __main__ as entry
from tinygptv.model.upstream import fetch, pins, resolve
from tinygptv.model.upstream.pins import INDEX, PINS, Pin, Repository

ROOT = Path(__file__).resolve().parents[3]
PHI, BLIP = "microsoft/phi-2", "Salesforce/blip2-flan-t5-xxl"
SETTINGS = Published(source="hub", language_model=PHI, image_encoder=BLIP, folder="")


@pytest.fixture(autouse=True)
def repositories(hub):
    def data(seed):
        return random.Random(seed).randbytes(2000)

    table = {"vision_model.a": "model-1.safetensors", "qformer.b": "model-2.safetensors"}
    table |= {"query_tokens": "model-2.safetensors", "language_model.c": "model-3.safetensors"}
    hub.files = {
        PHI: {
            "model.safetensors": data(0),
            "tokenizer.json": b"{}",
            "config.json": b"{}",
            "pytorch_model.bin": data(1),
        },
        BLIP: {INDEX: json.dumps({"weight_map": table}).encode()}
        | {f"model-{n}.safetensors": data(n) for n in (1, 2, 3)},
    }


def test_all_that_is_needed_is_pinned_and_can_be_fetched(hub, tmp_path):
    path = tmp_path / "lock.json"
    resolve.fill_in(path, SETTINGS, tmp_path)
    entries = pins.pinned(path, [PHI, BLIP])
    assert set(entries[PHI].files) == {"model.safetensors", "tokenizer.json"}
    assert set(entries[BLIP].files) == {INDEX, "model-1.safetensors", "model-2.safetensors"}
    for name, entry_ in entries.items():
        for file, pin in entry_.files.items():
            assert pin == hub.repository(name).files[file]
    assert not hub.transfers()  # nothing large
    found = fetch.gather(entries, folder=None, downloads=tmp_path)
    assert found[BLIP]["model-2.safetensors"].read_bytes() == hub.files[BLIP]["model-2.safetensors"]


def test_pins_stay_and_gaps_are_filled(hub, tmp_path):
    path = tmp_path / "lock.json"
    known = hub.repository(PHI).files["model.safetensors"]
    gap = Pin(size=None, sha256=None)
    pins.write_pins(
        path, {PHI: Repository(revision="a" * 40, files={"model.safetensors": known, "tokenizer.json": gap})}
    )
    filled = resolve.fill_in(path, SETTINGS, tmp_path)[PHI]
    assert filled.files["tokenizer.json"] == hub.repository(PHI).files["tokenizer.json"]
    assert any(route.endswith(f"/revision/{'a' * 40}") for _, route, _ in hub.requests)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_pin_that_the_hub_contradicts_is_not_overwritten(hub, tmp_path, file):
    path, wrong = tmp_path / "lock.json", Pin(size=None, sha256="0" * 64)
    pins.write_pins(path, {PHI: Repository(revision="a" * 40, files={file: wrong})})
    before = path.read_bytes()
    with pytest.raises(DataError) as caught:
        resolve.fill_in(path, SETTINGS, tmp_path)
    assert "0" * 64 in str(caught.value)
    assert hub.repository(PHI).files[file].sha256 in str(caught.value)
    assert path.read_bytes() == before


def test_what_the_hub_lacks_is_named(hub, tmp_path):
    del hub.files[PHI]["tokenizer.json"]
    with pytest.raises(DataError, match=r"microsoft/phi-2 at revision a+ has no tokenizer\.json"):
        resolve.fill_in(tmp_path / "lock.json", SETTINGS, tmp_path)
    del hub.files[PHI]
    with pytest.raises(DataError, match="no such repository"):
        resolve.fill_in(tmp_path / "lock.json", SETTINGS, tmp_path)
    assert not (tmp_path / "lock.json").exists()


def test_a_page_instead_of_the_hubs_answer_is_refused(hub, tmp_path):
    hub.substitute = b"<html>log in to the network</html>"
    with pytest.raises(DataError, match="answers as no hub does") as caught:
        resolve.fill_in(tmp_path / "lock.json", SETTINGS, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lock.json").exists()


def test_files_of_an_address_are_downloaded_and_counted(hub, tmp_path, monkeypatch):
    files = {"tower.pth": b"tower", "head.pth": b"head"}
    address, asked = "https://storage.example/models", []

    def fetch_file(url, target, **_):
        asked.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files[target.name])

    monkeypatch.setattr(resolve, "fetch_file", fetch_file)
    monkeypatch.setattr(fetch, "fetch_file", fetch_file)
    path, gap = tmp_path / "lock.json", Pin(size=None, sha256=None)
    pins.write_pins(path, {BLIP: Repository(address=address, revision=None, files=dict.fromkeys(files, gap))})
    entry_ = resolve.fill_in(path, SETTINGS, tmp_path / "downloads")[BLIP]
    assert entry_ == pins.pinned(path, [BLIP])[BLIP]
    assert entry_.files["head.pth"] == Pin(size=4, sha256=hashlib.sha256(b"head").hexdigest())
    found = fetch.gather({BLIP: entry_}, folder=None, downloads=tmp_path / "downloads")
    assert {place.read_bytes() for place in found[BLIP].values()} == set(files.values())
    assert sorted(asked) == [f"{address}/head.pth", f"{address}/tower.pth"], "once: the step finds them"
    (tmp_path / "downloads" / BLIP / "head.pth").write_bytes(b"HEAD")
    with pytest.raises(DataError, match="expects sha256"):
        resolve.fill_in(path, SETTINGS, tmp_path / "downloads")
    found = fetch.gather({BLIP: entry_}, folder=None, downloads=tmp_path / "elsewhere")
    assert f"{address}/head.pth" in asked[2:]
    with pytest.raises(DataError, match=rf"put head.pth, tower.pth of {BLIP} from {address} into"):
        fetch.gather({BLIP: entry_}, folder=tmp_path / "empty", downloads=tmp_path)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """With the real lock file and a profile of these repositories."""
    (tmp_path / "configs").mkdir()
    for name in ("paper.yaml", "smoke.yaml", PINS.name):
        shutil.copy(ROOT / "configs" / name, tmp_path / "configs")
    (tmp_path / "params.yaml").write_text("profile: smoke\nseed: 0\n")
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def test_the_command_writes_the_lock_file(checkout, capsys):
    (checkout / PINS).unlink()
    assert entry.main(["lock"]) == 0
    assert f"{BLIP} at revision {'a' * 40}: 3 files" in capsys.readouterr().out
    assert set(pins.pinned(checkout / PINS, [PHI, BLIP])) == {PHI, BLIP}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lock"], ("microsoft/phi-2", "no such revision")),  # the committed one
        (["lock", "--profile", "smoke"], ("smoke", "nothing to pin")),
        (["lock", "--profile", "none"], ("none.yaml does not exist",)),
    ],
)
def test_the_command_refuses_in_one_line(checkout, capsys, arguments, words):
    before = (checkout / PINS).read_bytes()
    assert entry.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert (checkout / PINS).read_bytes() == before


def test_the_command_needs_network(checkout, capsys, no_network):
    assert entry.main(["lock"]) == EXIT_PASSING
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cannot be reached" in error
    assert "with network" in error
