"""Where things lie in a checkout."""

from __future__ import annotations

from pathlib import Path

from tinygptv.ground.errors import UserError


def data_folder(root: Path, profile: str) -> Path:
    """Outputs of the steps, versioned by DVC."""
    return root / "data" / profile


def reports_folder(root: Path, profile: str) -> Path:
    """Reports in git."""
    return root / "reports" / profile


def state_folder(root: Path, profile: str) -> Path:
    """What differs from run to run: resume points, locks, spools, timings."""
    return root / ".state" / profile


def find_root(start: Path) -> Path:
    """The checkout: where ``dvc.yaml`` lies.

    Raises:
        UserError: no folder above has one.
    """
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise UserError(f"no dvc.yaml in {start} or above it; run the command inside the checkout")
