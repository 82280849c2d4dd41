"""``tinygptv diff RUN_A RUN_B``: where two runs of a step part, in the order in which it happens.

Settings first, then the first step whose batch differs, the first whose loss or gradient norm differs, and the weights.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from tinygptv.ground.differences import differing_keys
from tinygptv.ground.errors import UserError, meant
from tinygptv.ground.file_names import CUTS, HISTORY, MANIFEST, TRACE, TRAINED
from tinygptv.ground.folders import data_folder
from tinygptv.ground.names import STEPS
from tinygptv.ground.tables import plain_table
from tinygptv.ground.worktree import how_to_make
from tinygptv.ground.yaml_files import active_profile, profile_file
from tinygptv.provenance.compare import differences
from tinygptv.provenance.values import LoggedPoint, first_step, read_points, side
from tinygptv.provenance.words import DamagedError, Names, pair

NAMES: Names = ("A", "B")
RUN_ID = re.compile(r"[0-9a-f]{32}")
FILES = (MANIFEST, TRACE, HISTORY, TRAINED)
"""What a stage leaves, and ``diff`` fetches of its MLflow run."""
POINT_KEYS = ("batch", "loss", "grad_norm", "lr")


def run(root: Path, first: str, second: str, profile: str | None) -> bool:
    """Print how two runs differ.

    Args:
        root: the checkout, in which step names and MLflow's store are looked for.
        first: a folder with a step's output, a step's name, or the id of a step's MLflow run.
        second: what it is compared with.
        profile: the profile of the step names (default: the one in ``params.yaml``).

    Returns:
        Whether they are equal.

    Raises:
        UserError: one of them is none of these, or holds no output of a step.
    """
    with TemporaryDirectory() as scratch:
        folders = [
            find(root, given, profile, Path(scratch) / name) for name, given in zip(NAMES, (first, second), strict=True)
        ]
        print(f"{NAMES[0]}  {first}\n{NAMES[1]}  {second}")
        sections = compare(*folders)
    for title, lines in sections.items():
        print(f"\n{title}", *lines, sep="\n  ")
    if not sections:
        print("\nequal")
    return not sections


def compare(first: Path, second: Path) -> dict[str, list[str]]:
    """Title → lines, for all that differs; empty where every byte is equal."""
    left = {found.path: found for found in differences(first, second, NAMES)}
    # earlier versions wrote no counts, which follow from the data
    if not all((folder / CUTS).is_file() for folder in (first, second)):
        left.pop(CUTS, None)
    sections: dict[str, list[str]] = {}
    if MANIFEST in left and (lines := manifest_lines(first / MANIFEST, second / MANIFEST)):
        sections["manifest"] = lines
        del left[MANIFEST]
    steps = TRACE if (first / TRACE).is_file() and (second / TRACE).is_file() else HISTORY
    if steps in left and (lines := point_lines(first / steps, second / steps)):
        sections["training"] = lines
        for name in (steps, HISTORY):  # the curve's points are means of the trace's steps
            left.pop(name, None)
    if TRAINED in left:
        sections["weights"] = [left.pop(TRAINED).words]
    if left:
        sections["other files" if sections else "files"] = [str(found) for found in left.values()]
    return sections


def find(root: Path, given: str, profile: str | None, download: Path) -> Path:
    """The folder of a run.

    Args:
        root: the checkout.
        given: folder, step or MLflow run id.
        profile: the profile of a step.
        download: where the files of an MLflow run go.

    Raises:
        UserError: it is nothing of that.
    """
    folder = Path(given)
    if given in STEPS:
        chosen = profile if profile is not None else active_profile(root)
        folder = data_folder(root, chosen) / given
        if not folder.is_dir():
            if profile is not None and (root / "configs").is_dir():
                profile_file(root, profile)
            what = f"{given} is no folder yet: {folder} is missing"
            raise UserError(f"{what}; run {how_to_make(root, chosen, given)}, or `dvc pull`")
    elif not folder.exists() and RUN_ID.fullmatch(given):
        from tinygptv.tracking.artifacts import download_artifacts

        return download_artifacts(root, given, FILES, download)
    if not given or not folder.is_dir():
        known = STEPS[:-1]
        what = (
            f"{given or 'an empty name'} is no folder, no step with an output ({', '.join(known)}) and no MLflow run id"
        )
        raise UserError(f"{what}{meant(given, known)}")
    return folder


def manifest_lines(first: Path, second: Path) -> list[str]:
    """Every key of the manifests that differs, with both sides; none where one of them cannot be read."""
    try:
        contents = [json.loads(path.read_bytes()) for path in (first, second)]
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return []
    rows = [(key, side(left), side(right)) for key, left, right in differing_keys(*contents)]
    return plain_table(("key", *NAMES), rows).splitlines() if rows else []


def point_lines(first: Path, second: Path) -> list[str]:
    """For each value of a training step, the first step at which it differs; none where one cannot be read."""
    try:
        one, other = (read_points(path, name) for path, name in zip((first, second), NAMES, strict=True))
    except (FileNotFoundError, DamagedError):
        return []
    if one is None or other is None:
        return []
    recorded = one[0].keys() & other[0].keys()
    found = [(key, first_step(one, other, (key,))) for key in POINT_KEYS if key in recorded]
    return [_line(key, *place) for key, place in found if place is not None]


def _line(key: str, step: int, first: LoggedPoint | None, second: LoggedPoint | None) -> str:
    values = ["no such step" if point is None else side(point.get(key)) for point in (first, second)]
    return f"{key.replace('_', ' ')}: first differs at step {step}: {pair(values, NAMES)}"
