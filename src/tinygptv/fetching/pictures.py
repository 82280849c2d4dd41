"""Pictures from many addresses: each asked for once or twice, politely, and each that gives none with its reason.

What an address gives is a stranger's: it may lead into this network, never end, come a byte a minute, or be a page
about a picture. All of these are refused and counted. A picture takes its name when it is whole, so that a run that was
killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tinygptv.fetching.network import Network, RefusedAddressError, check_address, refusal
from tinygptv.ground.errors import brief

CONNECTIONS, OF_A_HOST = 64, 4
"""Addresses that are asked at once, and those of one host."""
MOST_BYTES = 10 << 20
"""Of a picture."""
MOST_SECONDS, PATIENCE_S = 30.0, 10.0
"""For an address with all that it leads to, and for each answer and each part of one."""
ATTEMPTS = 2
"""For an address that fails in a way that may pass."""
KINDS = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}
"""How pictures begin that can be read; WebP begins in two places."""
_LONGEST_BEGINNING = 12
_UNWANTED = frozenset({"noai", "noimageai"})
"""What ``X-Robots-Tag`` says where an owner wants no model trained on it."""


@dataclass(frozen=True, slots=True)
class PictureAddress:
    """A picture that is asked for."""

    key: str
    """Its name, without an ending."""
    url: str
    ending: str
    """How its file is to end; empty: as what it is."""


@dataclass(frozen=True, slots=True)
class NoPicture:
    """Why an address gave none."""

    kind: str
    """One of few words, to be counted."""
    detail: str


class _LostError(Exception):
    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.lost = NoPicture(kind, detail)


Outcomes = dict[str, Path | NoPicture]
"""Key → the picture, or why there is none."""


def fetch_pictures(
    asked: Iterable[PictureAddress], folder: Path, network: Network, came: Callable[[int], object]
) -> Outcomes:
    """Get some thousand pictures into a folder; those that are there already are not asked for again.

    Args:
        asked: their addresses; each key once.
        folder: where they go.
        network: who may be asked.
        came: told how many addresses are through.

    Raises:
        OSError: the disk does not take them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.stem: path for path in folder.iterdir() if path.suffix != ".part"}
    try:
        return asyncio.run(_all([*asked], there, folder, network, came))
    except ExceptionGroup as group:  # of the disk: what an address does wrong is counted
        raise group.exceptions[0] from None


async def _all(
    asked: list[PictureAddress], there: dict[str, Path], folder: Path, network: Network, came: Callable[[int], object]
) -> Outcomes:
    every, hosts = asyncio.Semaphore(CONNECTIONS), defaultdict[str, asyncio.Semaphore](_of_a_host)
    outcomes: Outcomes = {}

    async def get(address: PictureAddress) -> None:
        found: Path | NoPicture
        try:
            url = check_address(address.url)
            async with hosts[url.host], every:
                found = await _get(address, url, folder, client)
        except RefusedAddressError as error:
            found = NoPicture("refused address", str(error))
        outcomes[address.key] = found
        came(len(outcomes))

    async with network.async_client(PATIENCE_S, CONNECTIONS) as client, asyncio.TaskGroup() as group:
        for address in asked:
            if address.key in there:
                outcomes[address.key] = there[address.key]
            else:
                group.create_task(get(address))
    return outcomes


def _of_a_host() -> asyncio.Semaphore:
    return asyncio.Semaphore(OF_A_HOST)


async def _get(address: PictureAddress, url: httpx2.URL, folder: Path, client: httpx2.AsyncClient) -> Path | NoPicture:
    """A picture; asked for once more where the first failure may pass."""
    lost = NoPicture("no connection", "")
    for _ in range(ATTEMPTS):
        part = folder / f"{address.key}.part"
        try:
            async with asyncio.timeout(MOST_SECONDS):
                ending = await _receive(url, part, client)
        except TimeoutError:
            return NoPicture("too slow", f"it took more than {MOST_SECONDS:.0f} s")
        except RefusedAddressError as error:
            return NoPicture("refused address", str(error))
        except _LostError as error:
            if error.lost.kind not in ("server error", "cut off"):
                return error.lost
            lost = error.lost
        except httpx2.TooManyRedirects:
            return NoPicture("redirects", "it leads from one address to another without end")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            if (refused := refusal(error)) is not None or isinstance(error, httpx2.InvalidURL):
                return NoPicture("refused address", str(refused or brief(error)))
            slow = isinstance(error, httpx2.TimeoutException)
            lost = NoPicture("too slow" if slow else "no connection", brief(error))
        else:
            place = folder / f"{address.key}.{address.ending or ending}"
            part.replace(place)
            return place
        finally:
            part.unlink(missing_ok=True)
    return lost


async def _receive(url: httpx2.URL, part: Path, client: httpx2.AsyncClient) -> str:
    """Write what an address gives into a file.

    Returns:
        How a picture of its kind ends.

    Raises:
        _LostError: it is no picture.
    """
    async with client.stream("GET", url) as answer:
        _check(answer)
        size, begins = 0, b""
        with part.open("wb") as file:
            async for chunk in answer.aiter_raw():
                size += len(chunk)
                if size > MOST_BYTES:
                    raise _LostError("too large", f"it has more than {MOST_BYTES:,} bytes")
                if len(begins) < _LONGEST_BEGINNING:
                    begins += chunk[:_LONGEST_BEGINNING]
                    if len(begins) >= _LONGEST_BEGINNING:
                        _kind(begins)
                file.write(chunk)
            ending = _kind(begins)
            file.flush()
            os.fsync(file.fileno())
    return ending


def _check(answer: httpx2.Response) -> None:
    status = answer.status_code
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR or status == httpx2.codes.TOO_MANY_REQUESTS:
        raise _LostError("server error", f"HTTP {status}")
    if status != httpx2.codes.OK:
        raise _LostError(f"HTTP {status}", f"HTTP {status}")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise _LostError("web page", f"it is {kind}")
    wishes = answer.headers.get("X-Robots-Tag", "").lower().replace(":", ",").split(",")
    if unwanted := sorted({wish.strip() for wish in wishes} & _UNWANTED):
        raise _LostError("not to be trained on", f"its owner says {', '.join(unwanted)}")
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > MOST_BYTES:
        raise _LostError("too large", f"it has {length} bytes")


def _kind(begins: bytes) -> str:
    """How files of this kind end; looked at as soon as the beginning is there.

    Raises:
        _LostError: it is no picture that can be read.
    """
    for mark, ending in KINDS.items():
        if begins.startswith(mark):
            return ending
    if begins[:4] == b"RIFF" and begins[8:12] == b"WEBP":
        return "webp"
    if begins.lstrip()[:1] == b"<":
        raise _LostError("web page", "it is HTML or XML, whatever it is called")
    raise _LostError("no picture", "it is no JPEG, PNG or WebP")
