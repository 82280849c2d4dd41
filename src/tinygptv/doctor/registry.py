"""The model registry beside what DVC believes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tinygptv.doctor.findings import Check
from tinygptv.errors import UserError
from tinygptv.profiles import read_yaml
from tinygptv.tracking.client import SQLITE, reachable, tracking_uri


def versions(root: Path) -> Iterator[Check]:
    """DVC may hold ``register`` for done while the registry is empty: after ``dvc pull``, or without the database."""
    lock = root / "dvc.lock"
    recorded = lock.is_file() and "register" in ((read_yaml(lock) or {}).get("stages") or {})
    if not recorded:
        yield Check("registry", "ok", "no model was registered yet")
        return
    name = _model_name(root)
    try:
        count = _count_versions(root, name)
    except UserError as error:
        yield Check("registry", "warning", str(error), "start MLflow's server, or unset MLFLOW_TRACKING_URI")
        return
    if count:
        yield Check("registry", "ok", f"{count} versions of {name}")
    else:
        yield Check(
            "registry", "problem", f"empty, though DVC holds `register` for done ({name})", "dvc repro -f -s register"
        )


def _model_name(root: Path) -> str:
    profile = read_yaml(root / "params.yaml")["profile"]
    return str(read_yaml(root / "configs" / f"{profile}.yaml")["register"]["model_name"])


def _count_versions(root: Path, name: str) -> int:
    uri = tracking_uri(root)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        return 0  # connecting would create the database
    with reachable(root) as tracking:
        return len(tracking.mlflow.search_model_versions(f"name = '{name}'"))
