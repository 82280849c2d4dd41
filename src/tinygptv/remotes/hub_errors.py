"""What huggingface_hub has to say when something fails, in one line that names the fix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tinygptv.ground.errors import DataError, PassingError, UserError, passes


class NoNetworkError(Exception):
    """The hub cannot be reached; ``kind`` says whether that may pass."""

    def __init__(self, message: str, kind: type[UserError]) -> None:
        super().__init__(message)
        self.kind = kind


@contextmanager
def hub_errors(what: str, named: str) -> Iterator[None]:
    """Turn huggingface_hub's errors, which are many lines long, into one.

    Args:
        what: is asked for.
        named: where that is written, for a user to check.

    Raises:
        DataError: the hub refuses.
        PassingError: it fails just now.
        NoNetworkError: it cannot be reached.
    """
    import httpx2
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise NoNetworkError(f"{what}: {hub} cannot be reached (HF_HUB_OFFLINE is set)", DataError) from None
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise DataError(f"{what}: {hub} is no address ({first_line(error)}); check HF_ENDPOINT") from None
    except httpx2.TransportError as error:
        lasting = passes(error) is False or re.match(r"4\d\d ", str(error))  # a certificate, a proxy that refuses
        kind = DataError if lasting else PassingError
        raise NoNetworkError(f"{what}: {hub} cannot be reached ({first_line(error)})", kind) from None
    except errors.RevisionNotFoundError:
        raise DataError(f"{what}: {hub} has no such revision; check {named}") from None
    except errors.RemoteEntryNotFoundError:
        raise DataError(f"{what}: {hub} has no such file; check {named}") from None
    except errors.RepositoryNotFoundError:
        raise DataError(
            f"{what}: {hub} has no such repository, or it is private; check its name, or set HF_TOKEN"
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError, errors.FileMetadataError, httpx2.RequestError) as error:
        if passes(error):
            raise PassingError(f"{what}: {hub}: {first_line(error)}; try again later") from None
        raise DataError(f"{what}: {hub}: {first_line(error)}; check HF_ENDPOINT and HF_TOKEN") from None
    except ValueError as error:  # a page of HTML where JSON was due
        raise DataError(f"{what}: {hub} answers as no hub does ({first_line(error)}); check HF_ENDPOINT") from None


def first_line(error: Exception) -> str:
    """The first line of an error that has words."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
