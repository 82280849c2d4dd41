"""The environment in which results were made beside the present one, key by key.

In an equal environment a step gives equal bytes; in another one the data order is the same and losses agree within a
tolerance (docs/reproducibility.md). Torch, whose import takes seconds, is needed to know the present one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tinygptv.doctor.findings import Finding
from tinygptv.ground.differences import NOTHING, differing_keys
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import ENVIRONMENT, MANIFEST, PARAMS
from tinygptv.ground.files import read_json
from tinygptv.ground.folders import data_folder
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml

NAME = "environment"
KEY = "environment"
"""Where a stage's manifest holds it; ``backbones/environment.json`` is nothing else."""
FIX = "for equal bytes install what is recorded, on such a machine; docs/reproducibility.md states the tolerance"


def recorded(root: Path) -> Iterator[Finding]:
    """All manifests of the profile in ``params.yaml``; steps with the same difference share a finding."""
    params = root / PARAMS
    profile = (read_yaml(params) or {}).get("profile") if params.is_file() else None
    data = data_folder(root, str(profile))
    paths = [data / "backbones" / ENVIRONMENT, *(data / stage / MANIFEST for stage in STAGES)]
    found = [path for path in paths if path.is_file()]
    steps: dict[str, list[str]] = {}
    for path in found:
        try:
            steps.setdefault(difference(path), []).append(path.parent.name)
        except DataError as error:
            yield Finding(NAME, "problem", str(error), f"rm -rf {path.parent} && dvc checkout {path.parent}")
    if not found:
        yield Finding(NAME, "ok", f"no results of profile {profile} to compare with")
    for text, names in steps.items():
        yield _finding(text, ", ".join(names))


def compare_with(manifest: Path) -> Finding:
    """One file, as ``recorded`` does it.

    Raises:
        DataError: it is missing, is not JSON, or records no environment.
    """
    return _finding(difference(manifest), str(manifest))


def difference(manifest: Path) -> str:
    """``key recorded → present`` for every key that differs; empty where none does.

    Raises:
        DataError: the file is missing, is not JSON, or records no environment.
    """
    content = read_json(manifest)
    made_in: Any = content.get(KEY, content) if isinstance(content, Mapping) else None
    if not isinstance(made_in, Mapping) or "torch" not in made_in:
        raise DataError(f"{manifest} records no environment; name a stage's manifest.json")
    here = present()
    found = differing_keys(dict(made_in), dict(here))
    return ", ".join(f"{key} {_or(old, 'not recorded')} → {_or(new, 'none here')}" for key, old, new in found)


def _or(value: Any, missing: str) -> Any:
    return missing if value is NOTHING else value


@cache
def present() -> Mapping[str, str | int]:
    """This environment."""
    from tinygptv.ground.runtime import environment

    return environment()


def _finding(difference: str, where: str) -> Finding:
    if not difference:
        return Finding(NAME, "ok", f"that of {where}")
    text = f"{where} made in another environment: {difference}"
    return Finding(NAME, "warning", f"{text}; bits may differ, losses agree within the stated tolerance", FIX)
