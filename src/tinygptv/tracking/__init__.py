"""The record of runs and the registry: the only package that imports MLflow, and only inside functions.

Importing this package is cheap, and so are ``content`` and ``spool``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REGISTRY_SCHEME = "models:/"
ADDRESS = re.compile(r"models:/(?P<name>[^/@:']+)(@(?P<alias>[^/@:']+)|/(?P<version>\d+))")


def check_source(source: str) -> None:
    """Refuse at once what ``local_folder`` could not find: before MLflow is imported, and without making its store.

    Args:
        source: as of ``local_folder``.

    Raises:
        UserError: there is no such folder, an address is of another form, or there is no store to ask.
    """
    from tinygptv.ground.errors import DataError, UserError
    from tinygptv.remotes.places import is_address, parse_model

    if source.startswith(REGISTRY_SCHEME):
        from tinygptv.tracking.client import require_store, store_root

        if ADDRESS.fullmatch(source) is None:
            raise UserError(f"{source}: an address is models:/<name>@<alias> or models:/<name>/<version>")
        require_store(store_root(), source)
    elif is_address(source):
        try:
            parse_model(source)
        except ValueError as error:
            raise UserError(str(error)) from None
    elif not source or not Path(source).expanduser().is_dir():
        what = source or "an empty name"
        raise DataError(f"{what} is not a folder; run `dvc repro quantize`, or name a folder with weights")


@contextmanager
def local_folder(source: str) -> Iterator[Path]:
    """A folder with weights and processor for the block, given by path or by registry address.

    Args:
        source: a folder, or ``models:/<name>@<alias>`` or ``models:/<name>/<version>``, whose weights are used in place
            where the store is on this disk, else copied for the block, without running any code; or
            ``hf://OWNER/NAME@REVISION``, which stays in the hub's cache.

    Raises:
        UserError: the folder or the model version does not exist, or this machine does not let it be read.
        PassingError: the registry or the hub cannot be reached just now.
    """
    from tinygptv.ground.errors import from_os_error
    from tinygptv.remotes.places import is_address

    check_source(source)
    try:
        if source.startswith(REGISTRY_SCHEME):
            from tinygptv.tracking.packages import opened_package

            with opened_package(source) as folder:
                yield folder
            return
        if is_address(source):
            from tinygptv.remotes.hub_models import model_folder

            yield model_folder(source)
            return
        yield Path(source).expanduser()
    except OSError as error:
        raise from_os_error(error, f"opening {source}") from None
