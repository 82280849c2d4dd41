"""The record of runs and the registry: the only package that imports MLflow, and only inside functions.

Importing this package is cheap, and so are ``content`` and ``spool``.
"""

from __future__ import annotations

from pathlib import Path

REGISTRY_SCHEME = "models:/"


def local_folder(source: str) -> Path:
    """A folder with weights and processor, given by path or by registry address.

    Args:
        source: a folder, or ``models:/<name>@<alias>`` or ``models:/<name>/<version>``, whose weights are downloaded
            (or used in place where the store is on this disk) without running any code.

    Returns:
        The folder.

    Raises:
        UserError: the folder or the model version does not exist.
    """
    from tinygptv.errors import DataError

    if source.startswith(REGISTRY_SCHEME):
        from tinygptv.tracking.registry import weights_folder

        return weights_folder(source)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; run `dvc repro quantize`, or name a folder with weights")
    return folder
