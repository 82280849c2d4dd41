"""Pictures from addresses: nobody of this network is asked, caps hold, and what gave nothing is counted and named."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter

import pytest
from PIL import Image

from tests.data.formats.official import read_set
from tinygptv.fetching import address_lists, pictures
from tinygptv.fetching.address_lists import fetch_list
from tinygptv.fetching.network import Network
from tinygptv.fetching.pictures import NoPicture, PictureAddress, fetch_pictures
from tinygptv.fetching.sources import AddressList
from tinygptv.ground.errors import DataError, PassingError


def picture(kind="JPEG", size=32, colour="red"):
    made = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(made, kind)
    return made.getvalue()


JPEG = picture()
PAGE = b"\n<!doctype html><html>where your picture was</html>"


@pytest.fixture
def ask(tmp_path, here):
    """Get one address: the file's name and content, or the kind of failure."""

    def call(url, network=here):
        [outcome] = fetch_pictures([PictureAddress("p", url, "")], tmp_path / "out", network, len_of).values()
        if isinstance(outcome, NoPicture):
            assert list((tmp_path / "out").iterdir()) == []
            return outcome.kind
        return outcome.name, outcome.read_bytes()

    return call


def len_of(count):
    return count


@pytest.mark.parametrize(("kind", "ending"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_a_picture_ends_as_what_it_is(ask, files, kind, ending):
    content = picture(kind)
    assert ask(files.add("/p.gif", content, kind="image/gif")) == (f"p.{ending}", content)


@pytest.mark.drill(18, "pictures at addresses of this network, in every writing: zero hits on a canary")
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0.0.0.0"],
)
def test_this_network_is_not_asked(ask, canary, host):
    canary.add("/p.jpg", JPEG)
    port = canary.address.rpartition(":")[2]
    assert ask(f"http://{host}:{port}/p.jpg", Network()) == "refused address"
    assert canary.asked == []


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/p.jpg", "http://169.254.169.254/latest/meta-data/", "http://[fd00::1]/"]
)
def test_nor_what_is_around_it(ask, url):
    assert ask(url) == "refused address"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://a.org/p.jpg", "data:image/png;base64,AA", "", "p.jpg"])
def test_nor_what_is_no_web_address(ask, url):
    assert ask(url) == "refused address"


@pytest.mark.drill(18, "a redirect into this network, to a file, in a circle")
@pytest.mark.parametrize(
    ("to", "kind"),
    [("http://10.0.0.1/p.jpg", "refused address"), ("file:///etc/passwd", "refused address"),
     ("http://0x7f000001/", "refused address"), ("/p.jpg", "redirects")],
)  # fmt: skip
def test_a_redirect_is_looked_at_like_an_address(ask, files, to, kind):
    assert ask(files.add("/p.jpg", location=to)) == kind


def test_a_redirect_to_a_picture_is_followed(ask, files):
    files.add("/there.jpg", JPEG)
    assert ask(files.add("/p.jpg", location="/there.jpg")) == ("p.jpg", JPEG)


@pytest.mark.drill(18, "a name that means the canary when it is connected to")
def test_a_name_that_changes_its_mind(ask, canary, monkeypatch):
    """The guard sees the canary's number, for it connects to what it has looked at."""
    canary.add("/p.jpg", JPEG)
    port = int(canary.address.rpartition(":")[2])
    answers = iter([["127.0.0.1"], ["8.8.8.8"]])

    def getaddrinfo(host, *_, **__):
        return [(2, 1, 6, "", (number, port)) for number in next(answers)]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    assert ask(f"http://rebinding.example:{port}/p.jpg", Network()) == "refused address"
    assert canary.asked == []


@pytest.mark.drill(18, "bodies without end, larger than they may be, and a byte now and then")
def test_a_body_without_end(ask, files, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 1 << 20)
    assert ask(files.add("/p.jpg", JPEG, endless=True)) == "too large"
    assert ask(files.add("/q.jpg", JPEG + bytes(1 << 20))) == "too large"


def test_a_slow_body(ask, files, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_SECONDS", 0.3)
    assert ask(files.add("/p.jpg", JPEG, waits_after=10)) == "too slow"


@pytest.mark.drill(19, "a page of HTML named .jpg, half a picture")
@pytest.mark.parametrize(
    ("content", "faults", "kind"),
    [
        (PAGE, {"kind": "text/html; charset=utf-8"}, "web page"),
        (PAGE, {"kind": "image/jpeg"}, "web page"),
        (b"GIF89a" + bytes(99), {}, "no picture"),
        (b"", {}, "no picture"),
        (JPEG, {"cuts": [50, 50]}, "no connection"),
        (JPEG, {"statuses": [500, 502]}, "server error"),
        (JPEG, {"statuses": [404]}, "HTTP 404"),
        (JPEG, {"headers": {"X-Robots-Tag": "noindex, noai"}}, "not to be trained on"),
    ],
)
def test_what_is_no_picture_says_why(ask, files, content, faults, kind):
    assert ask(files.add("/p.jpg", content, **faults)) == kind


def test_a_moments_failure_is_tried_again(ask, files):
    assert ask(files.add("/p.jpg", JPEG, statuses=[503])) == ("p.jpg", JPEG)


# Lists


@pytest.fixture
def captions(tmp_path, files, monkeypatch):
    """A list of 25 addresses, every fifth dead, in parts of ten; and what to do with it."""
    monkeypatch.setattr(address_lists, "PART", 10)
    rows = []
    for number in range(25):
        url = (
            f"{files.address}/gone{number}"
            if number % 5 == 4
            else files.add(f"/{number}.jpg", picture(size=8 + number))
        )
        rows.append({"url": url, "caption": f"picture {number}"})
    file = tmp_path / "data/raw/lists/some.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(rows))
    return AddressList(file="data/raw/lists/some.json", form="captions", to="data/raw/web/", max_dead=0.25)


def test_a_list_becomes_tars_as_img2datasets(captions, tmp_path, here):
    assert fetch_list(tmp_path, captions, here) == Counter({"success": 20, "HTTP 404": 5})
    to = tmp_path / captions.to
    assert sorted(path.name for path in to.iterdir()) == [
        f"{part:05d}{ending}" for part in range(3) for ending in (".parquet", ".tar", "_stats.json")
    ]
    with tarfile.open(to / "00001.tar") as tar:
        assert tar.getnames()[:3] == ["000010000.jpg", "000010000.json", "000010000.txt"]
        assert tar.extractfile("000010000.txt").read() == b"picture 10"
        assert tar.extractfile("000010000.jpg").read() == picture(size=18)
    told = json.loads((to / "00000_stats.json").read_text())
    assert (told["count"], told["successes"], told["status_dict"]) == (10, 8, {"HTTP 404": 2})
    assert told["failed"][0]["key"] == "000000004"


def test_the_form_img2dataset_counts_the_dead(captions, tmp_path, here):
    fetch_list(tmp_path, captions, here)
    records, rejections = read_set(tmp_path, "img2dataset", (captions.to.rstrip("/"),), images="")
    assert [record.record.turns[0].answer for record in records][:2] == ["picture 0", "picture 1"]
    assert (len(records), len(rejections)) == (20, 5)


def test_a_part_that_is_done_is_not_asked_for_again(captions, tmp_path, here, files):
    fetch_list(tmp_path, captions, here)
    (tmp_path / captions.to / "00001_stats.json").unlink()
    files.asked.clear()
    fetch_list(tmp_path, captions, here)
    assert sorted(path for path, _, _ in files.asked if "gone" not in path) == [
        f"/{n}.jpg" for n in range(10, 20) if n % 5 != 4
    ]


def test_more_dead_than_may_be_are_told_with_their_table(captions, tmp_path, here):
    settings = captions.model_copy(update={"max_dead": 0.15})
    with pytest.raises(DataError) as caught:
        fetch_list(tmp_path, settings, here)
    for word in (
        "2 of 10 addresses gave no picture",
        "HTTP 404: 2",
        "max_dead (15%)",
        "00000_stats.json",
        "configs/datasets",
    ):
        assert word in str(caught.value)


def test_no_network_is_no_dead_address(captions, tmp_path, files, monkeypatch, here):
    monkeypatch.setattr(address_lists, "FEWEST", 5)
    path = tmp_path / captions.file
    path.write_text(path.read_text().replace(files.address, "http://127.0.0.1:9"))
    with pytest.raises(PassingError, match="is there a network"):
        fetch_list(tmp_path, captions, here)
    assert not list((tmp_path / captions.to).glob("*_stats.json"))


@pytest.fixture
def books(tmp_path, files):
    """OCR-VQA's file of three covers, one of them dead."""
    file = tmp_path / "data/raw/ocr_vqa/dataset.json"
    file.parent.mkdir(parents=True)
    urls = [files.add("/a.jpg", JPEG), files.add("/b.png", picture("PNG")), f"{files.address}/gone.jpg"]
    file.write_text(json.dumps({f"00{number}": {"imageURL": url} for number, url in enumerate(urls)}))
    return AddressList(
        file="data/raw/ocr_vqa/dataset.json", form="ocr_vqa", to="data/raw/ocr_vqa/images/", max_dead=0.5
    )


def test_covers_become_files_with_a_table_beside(books, tmp_path, here, files):
    assert fetch_list(tmp_path, books, here) == Counter({"success": 2, "HTTP 404": 1})
    folder = tmp_path / "data/raw/ocr_vqa"
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["000.jpg", "001.png"]
    [failed] = json.loads((folder / "addresses/00000_stats.json").read_text())["failed"]
    assert failed == {"key": "002", "url": f"{files.address}/gone.jpg", "kind": "HTTP 404", "reason": "HTTP 404"}


def test_covers_that_are_there_are_not_asked_for(books, tmp_path, here, files):
    images = tmp_path / books.to
    images.mkdir(parents=True)
    (images / "000.jpg").write_bytes(b"mine")
    (images / "001.jpg").write_bytes(b"saved as .jpg")
    fetch_list(tmp_path, books, here)
    assert [path for path, _, _ in files.asked] == ["/gone.jpg"]
    assert (images / "000.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("key", ["../up", "a/b", "", "x" * 101])
def test_a_key_that_is_no_name_stops_it(books, tmp_path, here, key):
    (tmp_path / books.file).write_text(json.dumps({key: {"imageURL": "http://a.org/b.jpg"}}))
    with pytest.raises(DataError, match="no name of a picture"):
        fetch_list(tmp_path, books, here)


PROGRAM = """
import sys, json
from pathlib import Path
from tinygptv.fetching.address_lists import fetch_list
from tinygptv.fetching.network import Network
from tinygptv.fetching.sources import AddressList
fetch_list(Path(sys.argv[1]), AddressList.model_validate_json(sys.argv[2]), Network(loopback=True))
"""


@pytest.mark.drills
@pytest.mark.drill(19, "SIGKILL while pictures come: those that came are kept")
def test_a_killed_run_keeps_the_pictures_that_came(captions, tmp_path, here, files):
    files.routes["/7.jpg"].waits_after = 10
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), captions.model_dump_json()]
    work = tmp_path / captions.to / ".00000"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None and not (work.is_dir() and len(list(work.glob("*.jpg"))) >= 3):
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
    came = {path.stem for path in work.glob("*.jpg")}
    assert came
    files.released.set()
    files.asked.clear()
    assert fetch_list(tmp_path, captions, here)["success"] == 20
    asked = {path for path, _, _ in files.asked}
    assert not {f"/{int(key)}.jpg" for key in came} & asked
