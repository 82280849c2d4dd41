"""``data fetch`` and ``data lock``: what is missing is told, got once, verified, in its place; room is asked before."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import pytest

from tests.refusals import refused
from tinygptv.fetching import asked, fetch, transfer
from tinygptv.fetching.sources import (
    SOURCES,
    AddressList,
    DataSource,
    PublishedFile,
    SetCounts,
    read_sources,
    write_sources,
)
from tinygptv.ground.errors import BusyError, NoSpaceError, PassingError
from tinygptv.ground.locks import only_one


def archive_of(members):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return made.getvalue()


PICTURES = archive_of({f"train/{number}.jpg": bytes([number]) * 1000 for number in range(40)})
TEXTS = b'[{"id": 1}]'
PLACES = ("data/raw/sets/texts.json", "data/raw/pictures/train")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def root(tmp_path, files):
    """A checkout whose lock file has two entries of the server, one by hand, and one that nobody has pinned."""
    folder = tmp_path / "checkout"
    (folder / "configs").mkdir(parents=True)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    counts = SetCounts(source="this test")

    def source(*published, **others):
        return DataSource(licence="CC0-1.0", terms="https://example.org", files=published, counts=counts, **others)

    def at(path, content, pinned=True, **place):
        url = files.add(path, content)
        known = {"size": len(content), "sha256": digest(content)} if pinned else {}
        return PublishedFile(url=url, **known, **place)

    pictures = at("/images.zip", PICTURES, unpack={"train/": "data/raw/pictures/train/"})
    write_sources(
        folder / SOURCES,
        {
            "pictures": source(pictures),
            "texts": source(at("/texts.json", TEXTS, to=PLACES[0]), images=("pictures",)),
            "asked": source(by_hand={"data/raw/asked/dev.json": "accept the terms of its publishers"}),
            "fresh": source(
                at("/fresh.zip", archive_of({"a/b": b"c"}), pinned=False, unpack={"a/": "data/raw/fresh/"})
            ),
        },
    )
    return folder


@pytest.fixture
def get(root, here):
    return lambda *names, folder=None, yes=True: asked.fetch(root, names, None, folder, yes=yes, network=here)


def there(root):
    return sorted(path.relative_to(root).as_posix() for path in (root / "data").rglob("*") if path.is_file())


def test_the_plan_comes_first_and_nothing_with_it(get, root, files, capsys):
    get("texts", "asked", "fresh", yes=False)
    told = capsys.readouterr().out
    for word in ("texts", "pictures", "CC0-1.0", "https://example.org", "hours at 10 MB/s", "free", "add --yes"):
        assert word in told, word
    assert "Not pinned in configs/datasets.lock.json, so not fetched: fresh.zip of fresh" in told
    assert "data/raw/asked/dev.json: accept the terms of its publishers" in told
    assert files.asked == []
    assert not (root / "data").exists()


def test_a_set_comes_with_its_pictures_once(get, root, files):
    get("texts")
    assert (root / PLACES[0]).read_bytes() == TEXTS
    assert len(list((root / PLACES[1]).iterdir())) == 40
    assert len(there(root)) == 41, "the archive is gone, and no part is left"
    files.asked.clear()
    get("texts", "pictures")
    assert files.asked == []


def test_pictures_that_somebody_has_unpacked_already_stay(get, root, files):
    (root / PLACES[1]).mkdir(parents=True)
    (root / PLACES[1] / "mine.jpg").write_bytes(b"mine")
    get("texts")
    assert [path for path, _, _ in files.asked] == ["/texts.json"]


def test_what_is_left_is_named(get, root):
    refused(
        lambda: get("texts", "asked", "fresh"),
        "fresh is not pinned (`tinygptv data lock fresh`)",
        "dev.json is got by hand",
    )
    assert (root / PLACES[0]).is_file()
    (root / "data/raw/asked").mkdir()
    (root / "data/raw/asked/dev.json").write_text("{}")
    get("texts", "asked")


@pytest.mark.drill(19, "another file at the address: both digests are named, nothing of it is kept")
def test_a_poisoned_archive_is_not_unpacked(get, root, files):
    poisoned = PICTURES[:-100] + bytes(100)
    files.routes["/images.zip"].content = poisoned
    refused(lambda: get("pictures"), digest(PICTURES), digest(poisoned), str(SOURCES))
    assert there(root) == []


@pytest.mark.drill(19, "a page about an archive, a half archive")
def test_a_page_or_a_half_archive_is_none(get, root, files):
    route = files.routes["/images.zip"]
    route.content, route.kind = b"<html>" + bytes(len(PICTURES) - 6), "text/html"
    refused(lambda: get("pictures"), "web page")
    route.content, route.kind, route.cuts = PICTURES, "application/zip", [5000] + [0] * transfer.ATTEMPTS
    refused(lambda: get("pictures"), "goes on where it was", error=PassingError)
    assert not (root / PLACES[1]).exists()
    had = next(root.rglob("*.part")).stat().st_size  # a broken connection may lose what was on its way
    get("pictures")
    assert files.ranges()[-1] == (f"bytes={had}-" if had else None)


def test_a_run_that_ended_before_it_unpacked_does_not_fetch_again(get, root, files, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "unpack", killed)
        with pytest.raises(KeyboardInterrupt):
            get("pictures")
    files.asked.clear()
    get("pictures")
    assert files.asked == []
    assert len(there(root)) == 40


@pytest.mark.drill(4, "a disk without room for an archive and what is in it: said before the first byte")
def test_room_for_all_is_asked_before_the_first_byte(get, files, monkeypatch):
    from tinygptv.ground import files as ground_files

    needed = 2 * len(PICTURES)
    monkeypatch.setattr(ground_files, "free_bytes", lambda folder: needed - 1)
    refused(lambda: get("pictures"), error=NoSpaceError)
    assert files.asked == []
    monkeypatch.setattr(ground_files, "free_bytes", lambda folder: needed)
    get("pictures")


def test_what_came_before_another_digest_was_pinned_is_fetched_again(get, root, files):
    stale = root / "data/raw/pictures/.downloads/pictures-images.zip"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"stale")
    get("pictures")
    assert len(there(root)) == 40
    assert not stale.parent.exists()


def test_a_folder_that_has_the_files_is_asked_in_the_place_of_the_network(get, root, files, tmp_path):
    folder = tmp_path / "mine" / "deep"
    folder.mkdir(parents=True)
    (folder.parent / "images.zip").write_bytes(b"of another set")
    (folder / "images.zip").write_bytes(PICTURES)
    refused(lambda: get("texts", folder=folder.parent), "the folder has no texts.json for texts")
    (folder / "texts.json").write_bytes(TEXTS)
    get("texts", folder=folder.parent)
    assert (root / PLACES[0]).read_bytes() == TEXTS
    assert len(there(root)) == 41
    assert (folder / "images.zip").read_bytes() == PICTURES
    assert files.asked == []


def test_a_copy_that_is_another_file_is_refused(get, root, tmp_path):
    (tmp_path / "images.zip").write_bytes(PICTURES[:-1] + b"!")
    refused(lambda: get("pictures", folder=tmp_path), "images.zip", digest(PICTURES), digest(PICTURES[:-1] + b"!"))
    assert there(root) == []


def test_another_file_in_its_place_is_named(get, root):
    (root / PLACES[0]).parent.mkdir(parents=True)
    (root / PLACES[0]).write_bytes(b"mine")
    refused(lambda: get("texts"), PLACES[0], "has 4 bytes", "remove it")


def test_pictures_of_a_list_come_after_it(get, root, files, capsys):
    urls = [files.add(f"/{number}.jpg", b"\xff\xd8\xff" + bytes(20)) for number in range(3)]
    rows = json.dumps([{"url": url, "caption": "a picture"} for url in [*urls, f"{files.address}/gone"]]).encode()
    url = files.add("/list.json", rows)
    sources = read_sources(root / SOURCES)
    sources["web"] = sources["asked"].model_copy(
        update={
            "by_hand": {},
            "files": (PublishedFile(url=url, size=len(rows), sha256=digest(rows), to="data/raw/lists/web.json"),),
            "pictures": AddressList(file="data/raw/lists/web.json", form="captions", to="data/raw/web/", max_dead=0.3),
        }
    )
    write_sources(root / SOURCES, sources)
    get("web")
    assert "web: success: 3, HTTP 404: 1" in capsys.readouterr().out
    assert there(root)[-3:] == [f"data/raw/web/00000{ending}" for ending in (".parquet", ".tar", "_stats.json")]


def test_one_process_at_a_time(get, root):
    with only_one(fetch.lock_of(root, "pictures"), "fetching pictures"):
        refused(lambda: get("pictures"), "fetching pictures runs already", error=BusyError)


def test_what_is_pinned_once_is_what_must_come(get, root, here, files, capsys):
    refused(lambda: get("fresh"), "fresh is not pinned")
    asked.pin(root, ("fresh", "texts"), None, here)
    told = capsys.readouterr().out
    content = files.routes["/fresh.zip"].content
    assert f"fresh.zip has {len(content)} bytes, sha256 {digest(content)}" in told
    assert "on trust" in told
    [pinned] = read_sources(root / SOURCES)["fresh"].files
    assert (pinned.size, pinned.sha256) == (len(content), digest(content))
    files.asked.clear()
    get("fresh")
    assert files.asked == [], "what was looked at is kept"
    assert (root / "data/raw/fresh/b").read_bytes() == b"c"
    asked.pin(root, ("fresh",), None, here)
    assert "all files are pinned" in capsys.readouterr().out


def test_pins_of_others_stay(root, here):
    before = json.loads((root / SOURCES).read_text())
    asked.pin(root, ("fresh",), None, here)
    after = json.loads((root / SOURCES).read_text())
    assert after.pop("fresh") != before.pop("fresh")
    assert after == before
