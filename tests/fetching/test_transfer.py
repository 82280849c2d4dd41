"""A file comes whole and as expected, whatever happens on the way, or not at all; what came is not asked for again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from tests.refusals import refused
from tinygptv.fetching import transfer
from tinygptv.fetching.http import fetch_file
from tinygptv.fetching.network import Network
from tinygptv.ground.errors import BusyError, NoSpaceError, PassingError

CONTENT = random.Random(0).randbytes(300_000)
SIZE, DIGEST = len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
LOCK = "some.lock.json"


@pytest.fixture
def get(tmp_path, here):
    """Fetch an address, the content above being expected."""

    def call(url, size=SIZE, sha256=DIGEST, network=here):
        return fetch_file(url, tmp_path / "file.zip", by=LOCK, size=size, sha256=sha256, network=network)

    return call


def part_of(tmp_path, content: bytes, version: str = ""):
    (tmp_path / "file.zip.part").write_bytes(content)
    if version:
        (tmp_path / "file.zip.part.version").write_text(version)


def left(tmp_path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def test_a_file_comes_whole(get, files, tmp_path):
    assert get(files.add("/file.zip", CONTENT)) == (len(CONTENT), DIGEST)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert left(tmp_path) == ["file.zip"]


def test_what_nobody_knows_is_told(get, files):
    assert get(files.add("/file.zip", CONTENT), None, None) == (len(CONTENT), DIGEST)


def test_a_cut_in_the_middle_is_taken_up(get, files, tmp_path):
    get(files.add("/file.zip", CONTENT, cuts=[100_000, 50_000]))
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert files.ranges() == [None, "bytes=100000-", "bytes=150000-"]


def test_cuts_without_end_leave_what_came(get, files, tmp_path):
    url = files.add("/file.zip", CONTENT, cuts=[100_000] + [0] * transfer.ATTEMPTS)
    refused(lambda: get(url), "it goes on where it was", error=PassingError)
    assert (tmp_path / "file.zip.part").read_bytes() == CONTENT[:100_000]
    get(url)
    assert files.ranges()[-1] == "bytes=100000-"
    assert left(tmp_path) == ["file.zip"]


def test_another_digest_is_refused_with_both_and_dropped(get, files, tmp_path):
    other = CONTENT[::-1]
    found = hashlib.sha256(other).hexdigest()
    refused(lambda: get(files.add("/file.zip", other)), LOCK, DIGEST, found, "it was not kept")
    assert left(tmp_path) == []


@pytest.mark.parametrize("content", [CONTENT + b"!", CONTENT[:-1]])
def test_another_size_is_refused_before_anything_is_moved(get, files, tmp_path, content):
    refused(lambda: get(files.add("/file.zip", content)), str(len(CONTENT)), str(len(content)))
    assert left(tmp_path) in ([], ["file.zip.part"])
    assert not (tmp_path / "file.zip.part").exists() or not (tmp_path / "file.zip.part").read_bytes()


def test_a_body_without_end_whose_size_nobody_knows(get, files, monkeypatch):
    monkeypatch.setattr(transfer, "MOST_UNTOLD", 1 << 20)
    refused(lambda: get(files.add("/file.zip", endless=True), None, None), "it has no size")


def test_a_body_without_end_is_cut_at_the_size_that_is_expected(get, files, tmp_path):
    refused(lambda: get(files.add("/file.zip", endless=True)), "more than", str(len(CONTENT)))


def test_a_server_without_ranges_gives_all_of_it_again(get, files, tmp_path):
    part_of(tmp_path, CONTENT[:100_000])
    get(files.add("/file.zip", CONTENT, ranges=False))
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_file_that_changed_in_between_begins_anew(get, files, tmp_path):
    part_of(tmp_path, b"?" * 100_000, '"old"')
    get(files.add("/file.zip", CONTENT, etag='"new"'))
    assert files.asked == [("/file.zip", "bytes=100000-", '"old"')]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_part_knows_which_version_it_is_of(get, files, tmp_path):
    url = files.add("/file.zip", CONTENT, etag='"one"', cuts=[100_000] + [0] * transfer.ATTEMPTS)
    refused(lambda: get(url), error=PassingError)
    get(url)
    assert files.asked[-1] == ("/file.zip", "bytes=100000-", '"one"')
    assert left(tmp_path) == ["file.zip"]


def test_a_date_stands_for_a_version(get, files, tmp_path):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    url = files.add("/file.zip", CONTENT, headers={"Last-Modified": date}, cuts=[100_000] + [0] * transfer.ATTEMPTS)
    refused(lambda: get(url), error=PassingError)
    assert (tmp_path / "file.zip.part.version").read_text() == date


def test_a_part_of_no_known_version_is_not_added_to_where_no_digest_would_tell(get, files, tmp_path):
    part_of(tmp_path, b"?" * 100_000)
    assert get(files.add("/file.zip", CONTENT), None, None)[1] == DIGEST
    assert files.ranges() == [None]


def test_a_part_that_is_too_long_begins_anew(get, files, tmp_path):
    part_of(tmp_path, CONTENT + b"more")
    get(files.add("/file.zip", CONTENT))
    assert files.ranges() == [None]


def test_a_whole_part_of_unknown_size_is_fetched_again(get, files, tmp_path):
    part_of(tmp_path, CONTENT, '"one"')
    assert get(files.add("/file.zip", CONTENT, etag='"one"'), None, None)[1] == DIGEST
    assert files.ranges() == [f"bytes={SIZE}-", None]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_fails_for_a_moment_is_asked_again(get, files, status):
    get(files.add("/file.zip", CONTENT, statuses=[status, status]))
    assert len(files.asked) == 3


def test_a_server_that_fails_for_long_may_be_asked_later(get, files):
    url = files.add("/file.zip", CONTENT, statuses=[500] * 9)
    refused(lambda: get(url), "answers 500", "later", error=PassingError)
    assert len(files.asked) == transfer.ATTEMPTS


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_gone_is_told_at_once(get, files, status):
    refused(lambda: get(files.add("/file.zip", statuses=[status])), f"answers {status}", "--from")
    assert len(files.asked) == 1


def test_a_web_page_is_no_archive(get, files, tmp_path):
    url = files.add("/file.zip", b"<html>log in</html>", kind="text/html; charset=utf-8")
    refused(lambda: get(url, None, None), "web page", "not kept")
    assert not (tmp_path / "file.zip").exists()


def test_a_server_that_gives_a_byte_now_and_then_is_left(get, files, monkeypatch):
    monkeypatch.setattr(transfer, "SLOW_S", -1.0)
    monkeypatch.setattr(transfer, "SLOWEST", 10**12)
    monkeypatch.setattr(transfer, "ATTEMPTS", 2)
    refused(lambda: get(files.add("/file.zip", CONTENT)), "bytes came in", error=PassingError)


def test_nobody_listens(get):
    refused(lambda: get("http://127.0.0.1:9/file.zip"), "gives nothing just now", error=PassingError)


@pytest.mark.parametrize(
    "to", ["http://10.0.0.1/x", "http://169.254.169.254/meta", "file:///etc/passwd", "http://2130706433/"]
)
def test_a_redirect_to_where_nobody_may_ask_is_refused(get, files, to):
    refused(lambda: get(files.add("/file.zip", location=to)), "is not asked")


def test_a_redirect_to_this_machine_is_refused(files, canary, tmp_path, monkeypatch):
    """From a public machine: the first server's number is let through, the canary's is not."""
    canary.add("/secret", b"secret")
    url = files.add("/file.zip", location=f"{canary.address.replace('127.0.0.1', 'localhost')}/secret")
    network = Network()
    monkeypatch.setattr(
        network, "allowed", lambda host, found: [host] if host == "127.0.0.1" else Network().allowed(host, found)
    )
    refused(lambda: fetch_file(url, tmp_path / "f", by=LOCK, network=network), "is not asked", "no public address")
    assert canary.asked == []


def test_redirects_in_a_circle_end(get, files):
    refused(lambda: get(files.add("/file.zip", location="/file.zip")), "without end")


def test_one_process_at_a_time(get, files, tmp_path):
    with (tmp_path / "file.zip.part").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(lambda: get(files.add("/file.zip", CONTENT)), "another process", error=BusyError)


def test_room_is_asked_for_before_the_first_byte(get, files, tmp_path, monkeypatch):
    from tinygptv.ground import files as ground_files

    monkeypatch.setattr(ground_files, "free_bytes", lambda folder: 1000)
    refused(lambda: get(files.add("/file.zip", CONTENT)), error=NoSpaceError)
    assert (tmp_path / "file.zip.part").read_bytes() == b""


PROGRAM = """
import sys
from pathlib import Path
from tinygptv.fetching.http import fetch_file
from tinygptv.fetching.network import Network
fetch_file(sys.argv[1], Path(sys.argv[2]), by="a lock file", size=int(sys.argv[3]), network=Network(loopback=True))
"""


def test_a_killed_download_goes_on_where_it_was(get, files, tmp_path):
    """SIGKILL while the server holds back the second half."""
    url = files.add("/file.zip", CONTENT, waits_after=200_000)
    part = tmp_path / "file.zip.part"
    command = [sys.executable, "-c", PROGRAM, url, str(tmp_path / "file.zip"), str(len(CONTENT))]
    with subprocess.Popen(command) as child:
        came = threading.Event()
        while child.poll() is None and not (part.is_file() and part.stat().st_size):
            came.wait(0.01)
        os.kill(child.pid, signal.SIGKILL)
    had = part.stat().st_size
    assert 0 < had <= 200_000
    files.released.set()
    get(url)
    assert files.ranges()[-1] == f"bytes={had}-"
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
