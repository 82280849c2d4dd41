"""The spool: whole lines, torn lines, locks, files that move away."""

import errno
import os
import subprocess
import sys

import pytest

from tinygptv.tracking import shelf
from tinygptv.tracking import spool as spools
from tinygptv.tracking.spool import Spool, flatten


def make(folder):
    return Spool.create(folder, step="stage1", profile="tiny", work="w", pipeline="p", flow_run=None, git_sha="abc")


def test_what_is_written_is_read(tmp_path):
    spool = make(tmp_path)
    spool.append("metric", name="loss", value=float("nan"), step=3)
    spool.append("tag", name="ä", value="line\nbreak\u2028")
    header = spools.read_header(spool.path)
    assert header == spool.header
    assert (header.step, header.profile, header.pipeline) == ("stage1", "tiny", "p")
    (metric, tag), offset = spools.read_events(spool.path)
    assert metric["value"] != metric["value"]
    assert tag["value"] == "line\nbreak\u2028"
    assert [metric["id"], tag["id"]] == [1, 2]
    assert offset == spool.path.stat().st_size
    spool.append("status", value="FINISHED")
    events, _ = spools.read_events(spool.path, offset)
    assert [event["kind"] for event in events] == ["status"]


def test_torn_last_line_is_left_for_later(tmp_path):
    spool = make(tmp_path)
    spool.append("metric", name="loss", value=1.0, step=0)
    with spool.path.open("ab") as file:
        file.write(b'{"id": 2, "kind": "metr')
    events, offset = spools.read_events(spool.path)
    assert [event["id"] for event in events] == [1]
    assert offset < spool.path.stat().st_size
    with spool.path.open("ab") as file:
        file.write(b'ic", "name": "x", "value": 1.0, "step": 0, "time": 1}\n')
    assert [event["id"] for event in spools.read_events(spool.path, offset)[0]] == [2]


def test_line_torn_by_a_full_disk_costs_only_itself(tmp_path, monkeypatch):
    spool = make(tmp_path)
    real = os.write

    def full(handle, data):
        if len(data) <= 10:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return real(handle, data[:-10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"File too large.*jsonl"):
            spool.append("metric", name="loss", value=1.0, step=1)
    spool.append("status", value="FAILED")
    assert [event["kind"] for event in spools.read_events(spool.path)[0]] == ["status"]


def test_a_short_write_is_completed(tmp_path, monkeypatch):
    spool = make(tmp_path)
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
        spool.append("metric", name="loss", value=1.0, step=1)
    spool.append("status", value="FINISHED")
    assert [event["kind"] for event in spools.read_events(spool.path)[0]] == ["metric", "status"]


def test_torn_header_is_no_header(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"kind": "head')
    assert spools.read_header(path) is None


def test_a_living_writer_holds_its_spool(tmp_path):
    spool = make(tmp_path)
    with shelf.claim(spool.path) as mine:
        assert not mine
    spool.close()
    with shelf.claim(spool.path) as mine:
        assert mine
    spool.path.unlink()
    with shelf.claim(spool.path) as mine:
        assert not mine


def test_a_killed_writer_leaves_whole_lines_and_no_lock(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from tinygptv.tracking.spool import Spool\n"
        "facts = dict(step='s', profile='p', work='w', pipeline=None, flow_run=None, git_sha='')\n"
        "s = Spool.create(pathlib.Path(sys.argv[1]), **facts)\n"
        "print('ready', flush=True)\n"
        "while True: s.append('metric', name='loss', value=1.0, step=0)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    writer.kill()
    writer.wait()
    (path,) = shelf.leftovers(tmp_path)
    with shelf.claim(path) as mine:
        assert mine
    events, _ = spools.read_events(path)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))


def test_files_are_kept_as_they_were(tmp_path):
    spool = make(tmp_path / "spool")
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "x.txt").write_text("old")
    kept = spool.keep_file(tmp_path / "tree")
    (tmp_path / "tree" / "deep" / "x.txt").unlink()
    (tmp_path / "tree" / "deep" / "x.txt").write_text("new")
    assert (spool.files / kept / "deep" / "x.txt").read_text() == "old"


def test_flatten():
    assert flatten({"a": {"b": 1, "c": [1, "x"]}, "d": None}) == {"a.b": "1", "a.c": '[1, "x"]', "d": "None"}
