"""What was last brought to Prefect's server of ``prefect.yaml`` and the flows: ``.state/services/applied.json``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygptv.ground.files import read_json, write_json
from tinygptv.ground.servers import folder_of
from tinygptv.ground.yaml_files import profile_names

PREFECT_YAML = "prefect.yaml"


def is_current(root: Path) -> bool:
    """Whether nothing of it changed since."""
    return _read(root)["digest"] == _digest(root)


def schedules(root: Path) -> dict[str, str]:
    """The schedules of each deployment that were in ``prefect.yaml`` then, in one form."""
    return dict(_read(root)["schedules"])


def note(root: Path, schedules: Mapping[str, str]) -> None:
    """Note that it was brought there as it is now."""
    write_json(_file(root), {"digest": _digest(root), "schedules": dict(schedules)})


def _read(root: Path) -> dict[str, Any]:
    file = _file(root)
    return dict(read_json(file)) if file.is_file() else {"digest": "", "schedules": {}}


def _file(root: Path) -> Path:
    return folder_of(root) / "applied.json"


def _digest(root: Path) -> str:
    """Of all that a deployment is made of: the file, the flows with their parameters, the profiles that their forms
    offer, and where the checkout lies."""
    digest = hashlib.sha256("\0".join((str(root), *profile_names(root / "configs"))).encode())
    for path in (root / PREFECT_YAML, *sorted((root / "flows").glob("*.py"))):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()
