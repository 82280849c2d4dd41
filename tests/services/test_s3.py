"""SeaweedFS's inner ports: its parts use them, nobody else can."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.services.others import KNOCK, OPEN, another_user, is_another
from tests.services.s3 import BUCKET, S3Server, serve
from tinygptv.ground.servers import HOST
from tinygptv.team import s3

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with serve(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def inner(server: S3Server) -> list[int]:
    """Every TCP port that it listens at, but S3's."""
    found = psutil.Process(server.process.pid).net_connections("inet")
    ports = sorted({entry.laddr.port for entry in found if entry.status == psutil.CONN_LISTEN})
    assert int(server.url.rpartition(":")[2]) in ports and len(ports) == 1 + len(s3.INNER)
    return [port for port in ports if port != int(server.url.rpartition(":")[2])]


def test_another_user_gets_nothing_from_an_inner_port(server, inner):
    said = another_user(KNOCK, [str(port) for port in inner])
    assert len(said) == len(inner) * 8
    refused = ("b'SSLError'", "b'SSLV3AlertError'", "b''", "b'ConnectionResetError'", "b'HTTP/1.0 400 Bad Request")
    answered = [line for line in said if not line.split(" ", 3)[3].startswith(refused)]
    assert answered == []
    assert server.files().cat_file(f"{BUCKET}/start") == b"content"


def test_a_certificate_of_ones_own_opens_nothing(inner, tmp_path):
    s3.close_inner(tmp_path)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tmp_path / s3.CERTIFICATE)
    for port in inner:
        assert not said(port, context), port


def test_the_certificate_of_the_server_opens_them_all(server, inner):
    """Else the two tests above would pass where nothing listens."""
    folder = Path(psutil.Process(server.process.pid).cwd())
    context = ssl.create_default_context(cafile=str(folder / s3.CERTIFICATE))
    context.load_cert_chain(folder / s3.CERTIFICATE)
    for port in inner:
        assert said(port, context), port


def test_another_user_reads_neither_keys_nor_data(server):
    folder = Path(psutil.Process(server.process.pid).cwd())
    assert folder.stat().st_mode & 0o077 == 0
    files = [str(path) for path in folder.rglob("*") if path.is_file()]
    assert {str(folder / name) for name in (s3.CERTIFICATE, "s3.json")} <= set(files)
    assert all(path.exists() and path.stat().st_mode & 0o022 == 0 for path in server.sockets)  # outside the folder
    if is_another():
        assert another_user(OPEN, files) == []


def said(port: int, context: ssl.SSLContext) -> bytes:
    """What an inner port answers to a request over TLS; nothing where it does not take the certificate."""
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection((HOST, port), 5) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as speaking,
        ):
            speaking.settimeout(5)
            if speaking.selected_alpn_protocol() == "h2":
                speaking.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            else:
                speaking.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return speaking.recv(100)
    except OSError:
        return b""
