"""The record of runs and the registry: the only package that imports MLflow, and only inside functions.

Importing this package is cheap, and so are ``content`` and ``spool``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REGISTRY_SCHEME = "models:/"


@contextmanager
def local_folder(source: str) -> Iterator[Path]:
    """A folder with weights and processor for the block, given by path or by registry address.

    Args:
        source: a folder, or ``models:/<name>@<alias>`` or ``models:/<name>/<version>``, whose weights are used in place
            where the store is on this disk, else copied for the block, without running any code.

    Raises:
        UserError: the folder or the model version does not exist, or this machine does not let it be read.
        PassingError: the registry cannot be reached just now.
    """
    from tinygptv.errors import DataError, from_os_error

    try:
        if source.startswith(REGISTRY_SCHEME):
            from tinygptv.tracking.packages import opened_package

            with opened_package(source) as folder:
                yield folder
            return
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; run `dvc repro quantize`, or name a folder with weights")
        yield folder
    except OSError as error:
        raise from_os_error(error, f"opening {source}") from None
