"""A folder for the time being below ``.state``, on the disk of the checkout: the system's own may be small memory."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tinygptv.ground.folders import STATE

BEGIN = "looked-at-"
_NAME = re.compile(rf"{BEGIN}(\d+)-\w+")


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A folder that is gone afterwards; those of processes that were killed go now.

    Args:
        root: the checkout.
    """
    state = root / STATE
    state.mkdir(exist_ok=True)
    for left in state.iterdir():
        found = _NAME.fullmatch(left.name)
        if found and not Path("/proc", found[1]).exists():
            shutil.rmtree(left, ignore_errors=True)  # another process may be at it
    with TemporaryDirectory(prefix=f"{BEGIN}{os.getpid()}-", dir=state) as folder:
        yield Path(folder)
