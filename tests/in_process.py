"""DVC called in the process of the tests: starting it costs a second, and most tests only need what it does."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dvc.cli import main


def dvc(folder: Path, *arguments: str) -> None:
    """``dvc`` in a folder, which must succeed. The caller sets ``DVC_NO_ANALYTICS`` and ``DVC_SITE_CACHE_DIR``."""
    with contextlib.chdir(folder):
        code = main(list(arguments))
    assert code == 0, f"dvc {' '.join(arguments)}"
