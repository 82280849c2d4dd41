"""A file from a plain address, with errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tinygptv.fetching import transfer
from tinygptv.fetching.network import Network, RefusedAddressError, check_address, refusal
from tinygptv.fetching.transfer import CutOffError, Expected
from tinygptv.ground.errors import DataError, PassingError, brief


def fetch_file(
    url: str,
    target: Path,
    *,
    by: str,
    size: int | None = None,
    sha256: str | None = None,
    network: Network | None = None,
) -> tuple[int, str]:
    """Download a file, or the rest of it; it is there when it is whole and as expected.

    Args:
        url: the address; public machines alone are asked, redirects included.
        target: where the file will lie.
        by: who says what it must be, such as a lock file, for messages.
        size: bytes; None where nobody knows.
        sha256: its digest; None where nobody knows.
        network: who may be asked.

    Returns:
        Its size and SHA-256.

    Raises:
        DataError: the address is refused, or gives another file or none.
        PassingError: it cannot be reached just now, or the transfer ended early; what came is kept.
        BusyError: another process is at it.
        NoSpaceError: it has no room.
    """
    with told(url):
        checked = check_address(url)
        expected = Expected(what=f"{target.name} of {checked.host}", size=size, sha256=sha256, by=by)
        with (network or Network()).client(transfer.PATIENCE_S) as client:
            return transfer.download(client, url, target, expected, giver=checked.host)


@contextmanager
def told(url: str) -> Iterator[None]:
    """What went wrong with an address, in one line.

    Raises:
        DataError: it is refused, or has nothing.
        PassingError: it may be gone the next time.
    """
    try:
        yield
    except RefusedAddressError as error:
        raise DataError(f"{url} is not asked: {error}") from None
    except CutOffError as error:
        raise PassingError(
            f"{url}: the transfer ended early ({error}); run the command again, it goes on there"
        ) from None
    except httpx2.TooManyRedirects:
        raise DataError(f"{url} leads from one address to another without end") from None
    except httpx2.InvalidURL as error:
        raise DataError(f"{url} leads to something that is no address ({brief(error)})") from None
    except httpx2.HTTPError as error:
        if (refused := refusal(error)) is not None:
            raise DataError(f"{url} is not asked: {refused}") from None
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None and not transfer.may_pass(error):
            raise DataError(
                f"{url} answers {status}; its publishers may have moved it: get the file in another way, and name its "
                "folder with --from"
            ) from None
        said = f"answers {status}" if status is not None else f"gives nothing just now ({brief(error)})"
        raise PassingError(f"{url} {said}; run the command again later, it goes on where it was") from None
