"""Files come whole, once, and go when they are gone; nothing else is touched."""

from __future__ import annotations

import os

import pytest

from tinygptv.ground.errors import BusyError, DataError, NoSpaceError, PassingError, UserError
from tinygptv.ground.locks import only_one
from tinygptv.remotes import fetch as fetching
from tinygptv.remotes.dvc_store import DvcStore
from tinygptv.remotes.fetch import fetch


@pytest.fixture
def reads(monkeypatch):
    """Path, start and end of everything that is read at a remote."""
    seen = []
    read = DvcStore.read

    def noted(self, path, start, stop):
        seen.append((path, start, stop))
        return read(self, path, start, stop)

    monkeypatch.setattr(DvcStore, "read", noted)
    return seen


def files(folder):
    """Names of all files below, those of our own left out."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(name for path in found if (name := path.relative_to(folder).as_posix())[0] != ".")


def test_a_folder_comes_with_all_below_it_and_no_more(checkout, store, reads):
    place = fetch("remote://store/pictures", checkout)
    assert place == checkout / ".state/raw/remote/store/pictures"
    assert files(checkout / ".state/raw") == [
        "remote/store/pictures/1.png",
        "remote/store/pictures/more/2.png",
    ]
    assert (place / "1.png").read_bytes() == b"pictures/1.png"
    assert len(reads) == 2
    assert files(checkout) == ["dvc.yaml"]


def test_what_is_here_is_not_fetched_again_by_whatever_address(checkout, store, reads):
    fetch("remote://store", checkout)
    reads.clear()
    for name in ("remote://store", "remote://store/pictures/", "remote://store/cats.json"):
        fetch(name, checkout)
    fetch("remote://store/pictures", checkout / ".state" / "worktrees" / "cats")
    assert reads == []


def test_only_what_was_changed_is_fetched_and_what_is_gone_goes(checkout, store, reads):
    place = fetch("remote://store", checkout)
    reads.clear()
    (store / "cats.json").write_text("other")
    (store / "pictures" / "more" / "2.png").unlink()
    (store / "new").write_text("new")
    fetch("remote://store", checkout)
    assert sorted(path for path, *_ in reads) == ["cats.json", "new"]
    assert files(place) == files(store)
    assert (place / "cats.json").read_text() == "other"
    assert not (place / "pictures" / "more").exists()


def test_what_was_damaged_here_is_fetched_again(checkout, store, reads):
    place = fetch("remote://store", checkout)
    reads.clear()
    (place / "cats.json").write_bytes(b"CATS.JSON")
    (place / "pictures" / "1.png").unlink()
    fetch("remote://store", checkout)
    assert sorted(path for path, *_ in reads) == ["cats.json", "pictures/1.png"]
    assert (place / "cats.json").read_bytes() == b"cats.json"


def test_a_file_may_become_a_folder_and_a_folder_a_file(checkout, store):
    place = fetch("remote://store", checkout)
    (store / "cats.json").unlink()
    (store / "cats.json").mkdir()
    (store / "cats.json" / "a").write_text("a")
    (store / "pictures" / "more" / "2.png").unlink()
    (store / "pictures" / "more").rmdir()
    (store / "pictures" / "more").write_text("b")
    fetch("remote://store", checkout)
    assert files(place) == files(store)


def test_hidden_names_and_links_that_lead_round_are_no_data(checkout, store):
    (store / ".DS_Store").write_text("x")
    (store / ".git").mkdir()
    (store / ".git" / "x").write_text("x")
    (store / "pictures" / "up").symlink_to("..")
    (store / "pictures" / "gone").symlink_to("nowhere")
    (store / "linked").symlink_to("pictures")
    os.mkfifo(store / "pipe")
    assert files(fetch("remote://store", checkout)) == sorted(
        ["cats.json", "linked/1.png", "linked/more/2.png", "pictures/1.png", "pictures/more/2.png", "pictures2.txt"]
    )


def test_a_killed_transfer_goes_on_where_it_was(checkout, store, reads, monkeypatch):
    monkeypatch.setattr(fetching, "PIECE", 1000)
    content = os.urandom(10_500)
    (store / "large").write_bytes(content)
    read = DvcStore.read

    def breaks(self, path, start, stop):
        if start == 7000:
            raise PassingError("the line is down")
        return read(self, path, start, stop)

    monkeypatch.setattr(DvcStore, "read", breaks)
    with pytest.raises(PassingError, match="the line is down"):
        fetch("remote://store/large", checkout)
    assert not (checkout / ".state/raw/remote/store/large").exists()
    monkeypatch.setattr(DvcStore, "read", read)
    reads.clear()
    assert fetch("remote://store/large", checkout).read_bytes() == content
    assert reads[0][1:] == (6000, 7000)  # the last piece may be damaged where the power went
    assert not [path for path in (checkout / ".state/raw/.parts").rglob("*") if path.is_file()]


def test_what_is_left_of_another_content_is_not_continued(checkout, store, monkeypatch):
    monkeypatch.setattr(fetching, "PIECE", 1000)
    (store / "large").write_bytes(b"a" * 5000)
    read = DvcStore.read
    monkeypatch.setattr(DvcStore, "read", lambda self, path, start, stop: read(self, path, start, stop)[:999])
    with pytest.raises(PassingError, match="999 bytes came instead of 1,000"):
        fetch("remote://store/large", checkout)
    monkeypatch.setattr(DvcStore, "read", read)
    (store / "large").write_bytes(b"b" * 5000)
    assert fetch("remote://store/large", checkout).read_bytes() == b"b" * 5000


def test_a_file_that_changes_meanwhile_is_not_kept(checkout, store, monkeypatch):
    monkeypatch.setattr(fetching, "PIECE", 1000)
    (store / "large").write_bytes(b"a" * 5000)
    read = DvcStore.read

    def changes(self, path, start, stop):
        if start == 3000:
            (store / "large").write_bytes(b"b" * 5000)
        return read(self, path, start, stop)

    monkeypatch.setattr(DvcStore, "read", changes)
    with pytest.raises(PassingError, match="was changed while it was fetched"):
        fetch("remote://store/large", checkout)
    assert files(checkout / ".state/raw") == []
    monkeypatch.setattr(DvcStore, "read", read)
    assert fetch("remote://store/large", checkout).read_bytes() == b"b" * 5000


def test_room_is_asked_for_before_anything_is_fetched(checkout, store, reads, monkeypatch):
    monkeypatch.setattr("tinygptv.ground.files.free_bytes", lambda path: 30)
    with pytest.raises(NoSpaceError) as caught:
        fetch("remote://store", checkout)
    assert caught.value.needed == sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert reads == []


def test_nothing_at_an_address_leaves_what_was_fetched(checkout, store):
    place = fetch("remote://store/pictures", checkout)
    for path in sorted((store / "pictures").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    for name in ("remote://store/pictures", "remote://store/none.json"):
        with pytest.raises(DataError, match=f"^{name}: nothing is there; check its name$"):
            fetch(name, checkout)
    assert (place / "1.png").is_file()


def test_an_unknown_remote_is_named_with_the_command_that_adds_it(checkout):
    with pytest.raises(DataError, match=r"names no remote atlas; `dvc remote add atlas URL` does"):
        fetch("remote://atlas/x", checkout)


def test_a_remote_whose_package_is_not_installed(checkout):
    (checkout / ".dvc" / "config").write_text("['remote \"store\"']\n    url = gs://bucket\n")
    with pytest.raises(UserError, match="requires 'dvc-gs' to be installed; pip install it") as caught:
        fetch("remote://store/x", checkout)
    assert caught.value.exit_code == 2


def test_another_process_that_fetches_is_waited_for_by_its_user(checkout, store):
    with only_one(checkout / ".state/locks/raw.lock", "x"), pytest.raises(BusyError, match="fetching into"):
        fetch("remote://store", checkout)


def test_a_ledger_that_breaks_meanwhile_is_one_line(checkout, store):
    for number in range(300):
        (store / f"{number}.txt").write_text("x")
    fetch("remote://store", checkout)
    ledger = checkout / ".state/raw/.fetched.sqlite"
    ledger.write_bytes(ledger.read_bytes()[:4096] + b"x" * (ledger.stat().st_size - 4096))
    with pytest.raises(DataError, match=r"\.fetched\.sqlite cannot be used .*; remove it"):
        fetch("remote://store", checkout)


def test_a_damaged_ledger_costs_time_alone(checkout, store):
    place = fetch("remote://store", checkout)
    for path in (checkout / ".state/raw").glob(".fetched.sqlite*"):
        path.write_bytes(b"no database, but as long as a page of one has to be" * 100)
    assert files(fetch("remote://store", checkout)) == files(place) == files(store)
