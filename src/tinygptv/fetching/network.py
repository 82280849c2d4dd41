"""Which machines may be asked: public ones alone, whatever a name, a number or a redirect says.

A name is resolved once, what it stands for is looked at, and the connection goes to that very number: a name that
means another machine a moment later (DNS rebinding) changes nothing. Every connection is made here, so that redirects
are looked at, too. A proxy would resolve names itself, so none is asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import httpcore2
import httpx2

MOST_REDIRECTS = 5
USER_AGENT = "tinygptv/0.1 (data sets)"
_NUMBER = re.compile(r"(0x[0-9a-f]*|\d+)", re.IGNORECASE)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RefusedAddressError(Exception):
    """An address that is not asked; the message says why."""


class Network:
    """Who may be asked.

    Args:
        loopback: this machine, too: for tests with a server of their own. No setting, option or variable leads here.
    """

    def __init__(self, *, loopback: bool = False) -> None:
        self._loopback = loopback

    def client(self, seconds: float) -> httpx2.Client:
        """A client for files; ``seconds`` is for each answer and each part of one."""
        transport = httpx2.HTTPTransport(verify=_certificates())
        # The one place for a backend of one's own: httpx hands none on to the pool that it makes.
        transport._pool = httpcore2.ConnectionPool(network_backend=_Guarded(self), ssl_context=_certificates())
        return httpx2.Client(transport=transport, **_settings(seconds))

    def async_client(self, seconds: float, connections: int) -> httpx2.AsyncClient:
        """A client for many small files."""
        transport = httpx2.AsyncHTTPTransport(verify=_certificates())
        transport._pool = httpcore2.AsyncConnectionPool(
            network_backend=_AsyncGuarded(self),
            ssl_context=_certificates(),
            max_connections=connections,
            max_keepalive_connections=connections // 2,
            keepalive_expiry=5.0,
        )
        return httpx2.AsyncClient(transport=transport, **_settings(seconds))

    def allowed(self, host: str, found: Iterable[tuple[Any, ...]]) -> list[str]:
        """Those numbers of a host that may be asked.

        Args:
            host: as the address has it.
            found: what ``getaddrinfo`` says of it.

        Raises:
            RefusedAddressError: none may.
        """
        numbers = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        public = [number for number in numbers if self._may(number)]
        if not public:
            raise RefusedAddressError(f"{host} is {', '.join(numbers) or 'nowhere'}, which is no public address")
        return public

    def _may(self, number: str) -> bool:
        try:
            address = ipaddress.ip_address(number.partition("%")[0])
        except ValueError:
            return False
        return is_public(address) or (self._loopback and address.is_loopback)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a number is of the public network; what stands in an IPv6 number for an IPv4 one counts as that."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def check_host(host: str) -> None:
    """Refuse what is neither a name nor a number in its usual form, such as ``2130706433`` and ``0177.0.0.1``.

    Raises:
        RefusedAddressError: the system would take it for a number that nobody sees in it.
    """
    if not host:
        raise RefusedAddressError("it names no host")
    last = host.rstrip(".").rpartition(".")[2]
    if _NUMBER.fullmatch(last) and ":" not in host:
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise RefusedAddressError(f"{host} is a number in no usual form") from None


def check_address(address: str) -> httpx2.URL:
    """The address of a file, where it is one that may be asked as far as can be seen of it.

    Raises:
        RefusedAddressError: it is of another kind than http and https, has a user in it, or is none.
    """
    try:
        url = httpx2.URL(address)
    except (httpx2.InvalidURL, TypeError, ValueError) as error:
        raise RefusedAddressError(f"it is no address ({error})") from None
    if url.scheme not in ("http", "https"):
        raise RefusedAddressError(f"{url.scheme or 'nothing'}: is asked by nobody; only http and https are")
    if url.userinfo:
        raise RefusedAddressError("it has a user or a password in it")
    check_host(url.host)
    return url


def refusal(error: BaseException) -> RefusedAddressError | None:
    """The refusal behind an error of the client, where there is one."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, RefusedAddressError):
        behind = behind.__cause__ or behind.__context__
    if behind is None and isinstance(error, httpx2.UnsupportedProtocol):
        return RefusedAddressError("it leads to something that is neither http nor https")
    return behind


@cache
def _certificates() -> ssl.SSLContext:
    """Who is trusted; read once, for it takes a third of a second."""
    return httpx2.create_ssl_context()


def _settings(seconds: float) -> dict[str, Any]:
    return {
        "follow_redirects": True,
        "max_redirects": MOST_REDIRECTS,
        "trust_env": False,  # a proxy of the environment would reach what is refused here, a .netrc give secrets away
        "timeout": seconds,
        "headers": {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
    }


class _Guarded(httpcore2.NetworkBackend):
    """Connects to what ``Network`` allows."""

    def __init__(self, network: Network) -> None:
        self._network, self._inner = network, httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.NetworkStream:
        check_host(host)
        with _names_as_connections(host):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        failed: httpcore2.ConnectError | None = None
        for number in self._network.allowed(host, found):
            try:
                return self._inner.connect_tcp(number, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError as error:
                failed = error
        assert failed is not None
        raise failed


class _AsyncGuarded(httpcore2.AsyncNetworkBackend):
    """The same for many connections at once."""

    def __init__(self, network: Network) -> None:
        self._network, self._inner = network, httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.AsyncNetworkStream:
        check_host(host)
        with _names_as_connections(host):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        failed: httpcore2.ConnectError | None = None
        for number in self._network.allowed(host, found):
            try:
                return await self._inner.connect_tcp(number, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError as error:
                failed = error
        assert failed is not None
        raise failed


@contextmanager
def _names_as_connections(host: str) -> Iterator[None]:
    """A name that stands for nothing is a connection that fails."""
    try:
        yield
    except (socket.gaierror, UnicodeError) as error:
        raise httpcore2.ConnectError(f"{host}: {error}") from None
