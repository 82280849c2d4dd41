"""A disk that is full and folders that must not be written: one line, and the former results as they were.

A limit on the size of files (``RLIMIT_FSIZE``) makes writes fail half-way for any user. A really full file system
needs a mount, which not every user may make, so that test is skipped where the system forbids it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from tests.limits import files_up_to, may_mount, without_override
from tinygptv.ground.errors import from_os_error, from_write_error
from tinygptv.ground.files import write_bytes

ROOT = Path(__file__).resolve().parents[2]


def size(path):
    return path.stat().st_size


@pytest.mark.drill(4, "a write that fails half-way")
@pytest.mark.parametrize("step", ["shards", "features", "stage1"])
def test_a_write_that_fails_half_way(checkout, refused, run, step):
    """WebDataset, our own tars and safetensors (whose errors are none of the system's) in turn."""
    largest = max(size(path) for path in (checkout.data / step).rglob("*") if path.is_file())
    with files_up_to(largest - 2000):
        refused(checkout, step, "writing", "size limit")
    assert run(checkout, step) == 0


@pytest.mark.drill(4, "a resume point that passes a limit on files")
def test_a_resume_point_that_cannot_be_written(checkout, refused, run, capfd):
    """The stage stops with the reason; what was saved before stays usable."""
    checkout.edit("checkpoint_every: 4", "checkpoint_every: 2")
    with files_up_to(30_000):
        refused(checkout, "stage1", "writing", "size limit")
    assert not list((checkout.state / "stage1").glob("step-*"))
    capfd.readouterr()
    assert run(checkout, "stage1") == 0
    assert "passed over" not in capfd.readouterr().out


FULL = 'mount -t tmpfs -o size=32k tmpfs "$1/.state/smoke/staging" && cd "$1" && exec "$2" -c "$3" shards'


@pytest.mark.drill(4, "disk full while shards are built")
def test_a_full_file_system(shards_checkout):
    """The real thing: ``shards`` writes to a file system of 32 kB, in a mount namespace of its own."""
    if not may_mount():
        pytest.skip("this system lets this user mount nothing; the tests with a limit on files stand for it")
    root = shards_checkout.root
    shutil.copytree(ROOT / "src", root / "src")
    (shards_checkout.state / "staging").mkdir(exist_ok=True)
    code = (
        "import runpy\n"
        "from tinygptv.tracking.runs import StepRun\n"
        "StepRun._ship = lambda self: (self._tried.set(), self._done.set())\n"
        "runpy.run_module('tinygptv.steps', run_name='__main__', alter_sys=True)"
    )
    before = shards_checkout.outputs()
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", FULL, "sh", str(root), sys.executable, code],
        env={**os.environ, "PYTHONPATH": str(root / "src"), "DVC_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        r"shards: reading or writing files: no space left on the disk of \S+/train-000000\.tar: [1-9][\d,]+ bytes are "
        r"needed, [\d,]+ are free; free some and run the command again\n",
        done.stderr,
    ), done.stderr
    assert shards_checkout.outputs() == before


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux'")
@pytest.mark.parametrize("folder", [".state/smoke", "data/smoke", "data/smoke/shards"])
def test_a_folder_that_must_not_be_written(shards_checkout, refused, run, folder):
    path = shards_checkout.root / folder
    if folder.startswith(".state"):
        shutil.rmtree(path)
        path.mkdir()
    mode = path.stat().st_mode
    path.chmod(0o555)
    try:
        with without_override():
            if folder == "data/smoke/shards":  # a folder is replaced, not written into
                assert run(shards_checkout, "shards") == 0
            else:
                refused(shards_checkout, "shards", "no permission to write", str(path), "make it writable")
    finally:
        path.chmod(mode)


def test_inputs_that_must_not_be_read(shards_checkout, run, capfd):
    path = shards_checkout.data / "download" / "sets" / "easy_vqa.json-lines"
    path.chmod(0)
    with without_override():
        assert run(shards_checkout, "shards") == 2
    path.chmod(0o644)
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "no permission" in error
    assert str(path) in error


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, ("no space left", "/x/y", "free some")),
        (errno.EDQUOT, ("no space left", "/x/y", "free some")),
        (errno.EACCES, ("no permission", "/x/y", "make it writable")),
        (errno.EROFS, ("no permission", "/x/y", "make it writable")),
        (errno.EFBIG, ("size limit", "/x/y", "ulimit")),
        (errno.ENOENT, ("does not exist", "/x/y", "run the step")),
        (errno.EIO, ("Input/output error", "/x/y")),
    ],
)
def test_the_system_s_errors_are_worded(number, words):
    hidden = SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")
    for error in (OSError(number, os.strerror(number), "/x/y"), hidden):
        message = str(from_write_error(error, "writing"))
        assert message.startswith("writing: ")
        assert "\n" not in message
        for word in words:
            assert word.replace("/x/y", "the output folder" if error is hidden else "/x/y") in message
    assert "the output folder" in str(from_os_error(OSError(number, "x"), "writing"))


def test_a_failed_atomic_write_keeps_the_former_file(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"former")
    with files_up_to(1000), pytest.raises(OSError, match="File too large"):
        write_bytes(path, bytes(5000))
    assert path.read_bytes() == b"former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
