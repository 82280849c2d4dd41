"""Which faults pass by themselves, which stay, and that the true cause is told whatever a library made of it."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
import urllib.error

import botocore.exceptions
import httpx2
import pytest
import requests
import urllib3
from safetensors import SafetensorError

from tests.limits import without_override
from tinygptv.ground import errors
from tinygptv.ground.errors import (
    EXIT_USER_ERROR,
    DataError,
    PassingError,
    RefusedError,
    UserError,
    from_os_error,
    from_write_error,
    system_error,
)


def of_system(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


def answered(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} of a test", response=response)


def behind(inner: BaseException, outer: Exception) -> Exception:
    """An error with another one as its cause, as ``raise ... from`` makes it."""
    outer.__cause__ = inner
    return outer


def meanwhile(inner: BaseException, outer: Exception) -> Exception:
    """An error that was raised while another one was handled."""
    outer.__context__ = inner
    return outer


def wrapped(inner: BaseException) -> requests.ConnectionError:
    """An error of a socket as requests hands it on."""
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", inner))  # type: ignore[arg-type]


CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")
PASS = {
    "refused": of_system(errno.ECONNREFUSED),
    "reset": of_system(errno.ECONNRESET),
    "pipe": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "no route": of_system(errno.EHOSTUNREACH),
    "no network": of_system(errno.ENETUNREACH),
    "timed out": of_system(errno.ETIMEDOUT),
    "timeout without a number": TimeoutError("timed out"),
    "name": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "name, for now": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "gone": http.client.RemoteDisconnected("Remote end closed connection without response"),
    "cut": http.client.IncompleteRead(b"some", 10),
    "cut under TLS": ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
    "network disk": of_system(errno.EIO, "/mnt/x"),
    "stale": of_system(errno.ESTALE, "/mnt/x"),
    "disk timed out": of_system(errno.ETIMEDOUT, "/mnt/x"),
    "locks of NFS": of_system(errno.ENOLCK, "/mnt/x"),
    "whole machine's files": of_system(errno.ENFILE),
    "500": answered(500),
    "502": answered(502),
    "503": answered(503),
    "504": answered(504),
    "429": answered(429),
    "408": answered(408),
    "urllib 503": urllib.error.HTTPError("http://x", 503, "busy", {}, None),  # type: ignore[arg-type]
    "S3 503": botocore.exceptions.ClientError({"ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObject"),
    "behind": behind(of_system(errno.ECONNREFUSED), RuntimeError("no answer")),
    "meanwhile": meanwhile(of_system(errno.EIO, "/mnt/x"), ValueError("no such number")),
    "requests": wrapped(urllib3.exceptions.ProtocolError("Connection broken", of_system(errno.ECONNRESET))),
    "in safetensors' text": SafetensorError("Error: I/O error: Input/output error (os error 5)"),
    "in a thread's text": RuntimeError("these failed:\n## File a\n[Errno 116] Stale file handle: '/mnt/a'"),
    "ours": PassingError("later"),
    "httpx": behind(of_system(errno.ECONNREFUSED), httpx2.ConnectError("All connection attempts failed")),
}
STAY = {
    "full": of_system(errno.ENOSPC, "/x"),
    "quota": of_system(errno.EDQUOT, "/x"),
    "permission": of_system(errno.EACCES, "/x"),
    "read only": of_system(errno.EROFS, "/x"),
    "limit on files": of_system(errno.EMFILE),
    "size": of_system(errno.EFBIG, "/x"),
    "absent": of_system(errno.ENOENT, "/x"),
    "a folder": of_system(errno.EISDIR, "/x"),
    "401": answered(401),
    "403": answered(403),
    "404": answered(404),
    "400": answered(400),
    "409": answered(409),
    "S3 403": botocore.exceptions.ClientError({"ResponseMetadata": {"HTTPStatusCode": 403}}, "PutObject"),
    "certificate": CERTIFICATE,
    "certificate behind": wrapped(urllib3.exceptions.SSLError(CERTIFICATE)),
    "no TLS": ssl.SSLError(1, "wrong version number"),
    "a refusal, whatever was before": meanwhile(of_system(errno.ECONNRESET), answered(404)),
    "ours": behind(of_system(errno.ECONNRESET), DataError("another digest")),
}
UNTOLD = {"bug": TypeError("x"), "words": RuntimeError("CUDA out of memory"), "no number": OSError("cannot load")}


@pytest.mark.parametrize("error", PASS.values(), ids=PASS)
def test_what_passes(error):
    assert errors.passes(error) is True
    told = from_write_error(error, "writing")
    assert (type(told), told.exit_code) == (PassingError, 75)
    assert "\n" not in str(told)


@pytest.mark.parametrize("error", STAY.values(), ids=STAY)
def test_what_stays(error):
    assert errors.passes(error) is False
    told = from_write_error(error, "writing")
    found = system_error(error)
    assert isinstance(told, RefusedError) or found is None or found.errno == errno.ENOENT
    assert told.exit_code == EXIT_USER_ERROR
    assert "\n" not in str(told)


@pytest.mark.parametrize("error", UNTOLD.values(), ids=UNTOLD)
def test_what_nothing_tells(error):
    assert errors.passes(error) is None
    assert errors.true_cause(error, "writing") is None


def test_a_cause_that_a_library_rejects_expressly_is_none():
    error = ValueError("no number")
    try:
        raise error from None
    except ValueError:
        error.__context__ = of_system(errno.EIO)
    assert errors.passes(error) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EMFILE, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_the_true_cause_is_told_whatever_hides_it(number):
    plain = str(from_os_error(of_system(number, "/x/y"), "copying"))
    assert "copying: " in plain
    for hidden in (
        behind(of_system(number, "/x/y"), RuntimeError("`dvc repro` fills it")),
        meanwhile(of_system(number, "/x/y"), ValueError("not found")),
        wrapped(of_system(number, "/x/y")),
        RuntimeError(f"failed:\n## File a/b ##\n[Errno {number}] {os.strerror(number)}: '/x/y'\n## File c ##\nx"),
    ):
        assert str(errors.true_cause(hidden, "copying")) == plain


def test_numbers_of_openssl_are_not_the_systems():
    told = str(from_write_error(CERTIFICATE, "fetching"))  # 1 is "operation not permitted" for the system
    assert "certificate verify failed" in told
    assert "permission" not in told


def test_reading_and_writing_are_told_apart(tmp_path):
    closed, there = tmp_path / "closed", tmp_path / "there"
    for path in (closed, there):
        path.write_text("x")
    closed.chmod(0)
    there.chmod(0o444)
    with without_override():
        for path, words, mode in (
            (closed, f"no permission to read {closed}; make it readable", "r"),
            (there, f"no permission to write {there}; make it writable", "w"),
            (tmp_path / "no" / "x", "does not exist", "r"),
        ):
            with pytest.raises(OSError, match=str(path)) as caught:
                path.open(mode)
            assert words in str(from_os_error(caught.value, "working"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud83d", "\\ud83d"),
        ("é\u00a0\U0001f600", "é\u00a0\U0001f600"),
    ],
)
def test_what_a_user_reads_is_one_line_in_its_order(given, told):
    assert str(UserError(given)) == told
