"""Where things lie in a checkout."""

from __future__ import annotations

from pathlib import Path

from tinygptv.ground.errors import UserError
from tinygptv.ground.file_names import DVC_YAML

STATE = ".state"
"""What differs from run to run, of all profiles and of the servers; git ignores it."""


def data_folder(root: Path, profile: str) -> Path:
    """Outputs of the steps, versioned by DVC."""
    return root / "data" / profile


def reports_folder(root: Path, profile: str) -> Path:
    """Reports in git."""
    return root / "reports" / profile


def state_folder(root: Path, profile: str) -> Path:
    """What differs from run to run: resume points, locks, spools, timings."""
    return root / STATE / profile


def answers_folder(root: Path, profile: str) -> Path:
    """Answers of models to questions, for whoever asks them again (``evaluation/answer_store.py``)."""
    return state_folder(root, profile) / "answers"


def speed_file(root: Path, profile: str, stage: str) -> Path:
    """How fast a stage trained when it ended last: numbers by name."""
    return state_folder(root, profile) / "speed" / f"{stage}.json"


def record_file(state: Path, step: str) -> Path:
    """What the last run of a step that ended well says of itself: times, and its run in MLflow.

    Args:
        state: as of ``state_folder``.
        step: the step.
    """
    return state / f"{step}.json"


def find_root(start: Path) -> Path:
    """The checkout: where ``dvc.yaml`` lies.

    Raises:
        UserError: no folder above has one.
    """
    for folder in (start, *start.parents):
        if (folder / DVC_YAML).is_file():
            return folder
    raise UserError(f"no dvc.yaml in {start} or above it; run the command inside the checkout")
