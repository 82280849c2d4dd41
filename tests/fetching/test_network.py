"""Who may be asked: a name is resolved once, and the connection goes to the number that was looked at."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import httpcore2
import pytest

from tinygptv.fetching import network
from tinygptv.fetching.network import Network, RefusedAddressError, check_address, check_host, is_public

PRIVATE = [
    *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "fec0::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::"),
]
PUBLIC = ["8.8.8.8", "151.101.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.drill(18, "addresses of this network, whatever they are written as: refused")
@pytest.mark.parametrize("number", PRIVATE)
def test_a_number_that_is_not_public(number):
    assert not is_public(ipaddress.ip_address(number))


@pytest.mark.parametrize("number", PUBLIC)
def test_a_public_number(number):
    assert is_public(ipaddress.ip_address(number))


@pytest.mark.parametrize(
    "host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0x7f000001", "017700000001", "1.2.3", "", "1."]
)
def test_a_number_in_no_usual_form(host):
    with pytest.raises(RefusedAddressError):
        check_host(host)


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://a.org/x", "gopher://a.org", "javascript:1", "data:,x", "", "//a.org/x", "http://",
     "http://user:secret@a.org/", "http://[::1", "http://0177.0.0.1/", "http://2130706433/", "http://\0/"],
)  # fmt: skip
def test_an_address_that_is_none_of_a_picture(address):
    with pytest.raises(RefusedAddressError):
        check_address(address)


class Connections:
    """In the place of the real backend: where it was sent to."""

    def __init__(self, unreachable: str = "") -> None:
        self.to: list[str] = []
        self._unreachable = unreachable

    def connect_tcp(self, host, *_):
        self.to.append(host)
        if host == self._unreachable:
            raise httpcore2.ConnectError(host)
        return "a stream"


class AsyncConnections(Connections):
    async def connect_tcp(self, host, *_):
        return super().connect_tcp(host)


@pytest.fixture(params=["sync", "async"])
def connect(request):
    """``connect(host, connections)``: through the guard of the client for files, and of that for pictures."""

    def call(host, made=None):
        if request.param == "sync":
            guard, inner = network._Guarded(Network()), made or Connections()
            guard._inner = inner
            guard.connect_tcp(host, 80)
        else:
            guard, inner = network._AsyncGuarded(Network()), made or AsyncConnections()
            guard._inner = inner
            asyncio.run(guard.connect_tcp(host, 80))
        return inner.to

    call.connections = Connections if request.param == "sync" else AsyncConnections
    return call


def resolving(monkeypatch, *answers):
    """The next answers of the resolver, each a list of numbers; gives how often it was asked."""
    left, asked = list(answers), []

    def getaddrinfo(host, port, *_, **__):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in left.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.drill(18, "a name that means another machine when it is asked for again (DNS rebinding)")
def test_a_name_is_resolved_once_and_its_number_is_connected_to(connect, monkeypatch):
    asked = resolving(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    assert connect("rebinding.example") == ["8.8.8.8"]
    assert asked == ["rebinding.example"]
    with pytest.raises(RefusedAddressError, match=r"127\.0\.0\.1"):
        connect("rebinding.example")


def test_of_a_name_with_both_kinds_the_public_number_is_asked(connect, monkeypatch):
    resolving(monkeypatch, ["127.0.0.1", "8.8.8.8"])
    assert connect("both.example") == ["8.8.8.8"]


def test_the_next_number_is_tried(connect, monkeypatch):
    resolving(monkeypatch, ["8.8.8.8", "8.8.4.4"])
    assert connect("two.example", connect.connections("8.8.8.8")) == ["8.8.8.8", "8.8.4.4"]


def test_a_name_that_stands_for_nothing_is_a_failed_connection(connect, monkeypatch):
    def fails(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(httpcore2.ConnectError):
        connect("gone.example")


def test_nothing_of_the_environment_leads_past_the_guard(monkeypatch, canary, tmp_path):
    """A proxy would resolve names itself."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, canary.address)
    with Network().client(1.0) as client, pytest.raises(RefusedAddressError):
        client.get("http://localhost:1/x")
    assert canary.asked == []
