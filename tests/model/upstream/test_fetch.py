"""Files come whole and as pinned, whatever happens on the way, or not at all."""

from __future__ import annotations

import fcntl
import random

import pytest

from tests.hub import use
from tests.refusals import refused
from tinygptv.ground.errors import BusyError, DataError, PassingError
from tinygptv.model.upstream import fetch
from tinygptv.model.upstream.pins import Pin, Repository

PHI, BLIP = "microsoft/phi-2", "Salesforce/blip2"
WEIGHTS = random.Random(0).randbytes(50_000)
SMALL = b'{"version": "1.0"}'
OTHER = "0" * 64


@pytest.fixture
def pins(hub):
    hub.files = {
        PHI: {"model.safetensors": WEIGHTS, "tokenizer.json": SMALL},
        BLIP: {"model.safetensors": WEIGHTS[::-1]},
    }
    return {name: hub.repository(name) for name in hub.files}


@pytest.fixture
def gather(tmp_path, pins):
    def call(folder=None, **changed):
        return fetch.gather(pins | changed, folder=folder, downloads=tmp_path / "downloads")

    return call


def home(tmp_path, name=PHI):
    return tmp_path / "downloads" / name / ("a" * 40)


def with_pin(repository, file, **change):
    pin = repository.files[file].model_copy(update=change)
    return repository.model_copy(update={"files": {**repository.files, file: pin}})


def test_download(gather, tmp_path, hub):
    found = gather()
    assert found[PHI]["model.safetensors"].read_bytes() == WEIGHTS
    assert found[PHI]["tokenizer.json"].read_bytes() == SMALL
    assert found[BLIP]["model.safetensors"].read_bytes() == WEIGHTS[::-1]
    assert not list(tmp_path.rglob("*.part"))
    hub.requests.clear()
    assert gather() == found
    assert hub.requests == []


def test_progress_is_shown(gather, tmp_path, capsys):
    part = home(tmp_path) / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS[:49_500])
    gather()
    shown = capsys.readouterr().out
    assert "model.safetensors (MB): 1/1" in shown
    assert "tokenizer.json (MB): 1/1" in shown


def test_an_interrupted_download_is_continued_by_a_later_process(gather, tmp_path, hub):
    part = home(tmp_path) / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS[:20_000])
    found = gather()
    assert found[PHI]["model.safetensors"].read_bytes() == WEIGHTS
    assert "bytes=20000-" in hub.transfers()
    assert not part.exists()


def test_a_connection_that_breaks_is_taken_up_again(gather, hub):
    hub.cuts = [30_000]
    assert gather()[PHI]["model.safetensors"].read_bytes() == WEIGHTS
    assert hub.transfers() == [None, "bytes=30000-", None]


def test_a_connection_that_breaks_for_good_leaves_what_has_come(gather, tmp_path, hub):
    hub.cuts = [30_000] + [0] * 6
    refused(gather, "peer closed connection", "model.safetensors", error=PassingError)
    assert (home(tmp_path) / "model.safetensors.part").read_bytes() == WEIGHTS[:30_000]
    assert gather()[PHI]["model.safetensors"].read_bytes() == WEIGHTS
    assert hub.transfers()[-2:] == ["bytes=30000-", None]


def test_a_part_that_is_too_long_is_begun_anew(gather, tmp_path, hub):
    part = home(tmp_path) / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS + b"!")
    assert gather()[PHI]["model.safetensors"].read_bytes() == WEIGHTS


def test_another_digest_at_the_hub_is_refused_before_the_transfer(gather, pins, tmp_path, hub):
    changed = with_pin(pins[PHI], "model.safetensors", sha256=OTHER)
    found = pins[PHI].files["model.safetensors"].sha256
    refused(lambda: gather(**{PHI: changed}), OTHER, found, "model.safetensors", PHI)
    assert hub.transfers() == []
    assert not home(tmp_path).exists()


def test_another_size_at_the_hub_is_refused(gather, pins):
    refused(lambda: gather(**{PHI: with_pin(pins[PHI], "tokenizer.json", size=5)}), "size 5", str(len(SMALL)))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_content_that_is_not_what_the_hub_announces_is_refused_and_dropped(gather, pins, tmp_path, hub, file):
    """A page of HTML instead of the weights, of the same size."""
    size = pins[PHI].files[file].size
    hub.substitute = b"<html>".ljust(size, b" ")
    only = pins[PHI].model_copy(update={"files": {file: pins[PHI].files[file]}})
    refused(
        lambda: fetch.gather({PHI: only}, folder=None, downloads=tmp_path / "downloads"),
        pins[PHI].files[file].sha256,
        "the hub gave",
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_downloaded_file_that_changed_since_is_refused(gather, pins, tmp_path):
    gather()
    place = home(tmp_path) / "model.safetensors"
    place.write_bytes(b"!" + WEIGHTS[1:])
    refused(gather, pins[PHI].files["model.safetensors"].sha256, fetch.sha256_file(place), str(place))


def test_a_missing_revision_repository_or_file(gather, pins):
    elsewhere = pins[PHI].model_copy(update={"revision": "f" * 40})
    refused(lambda: gather(**{PHI: elsewhere}), "f" * 40, "no such revision", PHI)
    refused(lambda: gather(**{"nobody/nothing": pins[PHI]}), "nobody/nothing", "HF_TOKEN")
    more = pins[PHI].model_copy(update={"files": {**pins[PHI].files, "a.json": Pin(size=1, sha256=OTHER)}})
    refused(lambda: gather(**{PHI: more}), "a.json", "no such file")


@pytest.mark.drill(26, "no network: one line says which files to put where")
def test_without_network_one_line_says_what_to_put_where(gather, tmp_path, no_network):
    home(tmp_path).mkdir(parents=True)
    (home(tmp_path) / "tokenizer.json").write_bytes(SMALL)
    refused(
        gather,
        "cannot be reached",
        f"model.safetensors of {PHI} at revision {'a' * 40} into {home(tmp_path)}",
        f"model.safetensors of {BLIP} at revision {'a' * 40} into {home(tmp_path, BLIP)}",
        "backbones.folder",
        error=PassingError,
    )
    (home(tmp_path) / "model.safetensors").write_bytes(WEIGHTS)
    home(tmp_path, BLIP).mkdir(parents=True)
    (home(tmp_path, BLIP) / "model.safetensors").write_bytes(WEIGHTS[::-1])
    assert gather()[PHI]["model.safetensors"] == home(tmp_path) / "model.safetensors"


@pytest.mark.parametrize("fault", [500, 502, 503, 504, 408, 429, "reset", "slow"])
def test_a_fault_of_the_hub_that_passes(gather, hub, monkeypatch, fault):
    monkeypatch.setattr(fetch, "TIMEOUT_S", 1.0)
    hub.faults = [fault] * 10  # huggingface_hub tries some of them again itself
    refused(gather, "model.safetensors", error=PassingError)
    hub.faults = []
    assert gather()[PHI]["model.safetensors"].read_bytes() == WEIGHTS


@pytest.mark.parametrize("fault", [400, 401, 403, 404, 410])
def test_a_refusal_of_the_hub_stays(gather, hub, fault):
    hub.faults = [fault] * 10
    with pytest.raises(DataError) as caught:
        gather()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("http://127.0.0.1:9", PassingError),
        ("http://hub.invalid", PassingError),  # no name server, or none that knows it
        ("htp://127.0.0.1:9", DataError),
        ("127.0.0.1:9", DataError),
        ("http://127.0.0.1:port", DataError),
    ],
)
def test_an_address_that_leads_nowhere(gather, monkeypatch, hub, address, kind):
    use(address, monkeypatch)
    refused(gather, address, error=kind)


def test_another_servers_certificate_is_not_tried_again(gather, monkeypatch, hub):
    """What listens there speaks no TLS, or shows a certificate of somebody else."""
    use(hub.address.replace("http:", "https:"), monkeypatch)
    refused(gather, "cannot be reached", error=DataError)


def test_offline_mode_of_the_hub_is_heeded(gather, hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(gather, "HF_HUB_OFFLINE is set", "put model.safetensors", error=DataError)
    assert hub.requests == []


def test_files_of_the_hubs_cache_are_used(gather, pins, hub):
    from huggingface_hub import constants, hf_hub_download

    hf_hub_download(PHI, "model.safetensors", revision="a" * 40)
    before = len(hub.transfers())
    place = gather()[PHI]["model.safetensors"]
    assert str(place).startswith(constants.HF_HUB_CACHE)
    assert len(hub.transfers()) == before + 1  # BLIP-2's


def test_a_damaged_file_of_the_hubs_cache_is_not_used(gather, hub):
    from pathlib import Path

    from huggingface_hub import hf_hub_download

    Path(hf_hub_download(PHI, "model.safetensors", revision="a" * 40)).write_bytes(b"!" + WEIGHTS[1:])
    assert gather()[PHI]["model.safetensors"].read_bytes() == WEIGHTS


def test_a_folder_of_the_users(gather, hub, tmp_path):
    folder = tmp_path / "weights"
    for name, files in hub.files.items():
        (folder / name).mkdir(parents=True)
        for file, data in files.items():
            (folder / name / file).write_bytes(data)
    assert gather(folder)[BLIP]["model.safetensors"] == folder / BLIP / "model.safetensors"
    assert hub.requests == []
    (folder / PHI / "model.safetensors").write_bytes(b"!" + WEIGHTS[1:])
    refused(lambda: gather(folder), "expects sha256", "found")
    (folder / PHI / "model.safetensors").unlink()
    (folder / BLIP / "model.safetensors").unlink()
    refused(lambda: gather(folder), f"into {folder / PHI}", f"into {folder / BLIP}", "backbones.folder")


def test_two_processes_do_not_write_to_the_same_part(gather, tmp_path):
    part = home(tmp_path) / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(gather, "another process", str(part), error=BusyError)


def test_the_token_goes_to_the_hub_and_not_to_where_it_stores_large_files(pins, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    only = Repository(revision="a" * 40, files={"model.safetensors": pins[BLIP].files["model.safetensors"]})
    fetch.gather({BLIP: only}, folder=None, downloads=tmp_path)
    assert {route.split("/")[1]: token for route, token in hub.tokens} == {
        "Salesforce": "Bearer hf_secret",
        "cdn": None,
    }
