"""The model registry beside what DVC believes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tinygptv.config.profiles import Profile, read_profile
from tinygptv.doctor.findings import Finding
from tinygptv.ground.dvc import lock_md5
from tinygptv.ground.errors import ConfigError, PassingError, UserError
from tinygptv.ground.folders import data_folder
from tinygptv.tracking.client import reachable, store_is_missing
from tinygptv.tracking.registered import held_for_done, lacks_package
from tinygptv.tracking.version_tags import PACKAGE_STEP


def versions(root: Path) -> Iterator[Finding]:
    """DVC may hold ``register`` for done while the registry is empty: after ``dvc pull``, or without the database."""
    if not held_for_done(root):
        yield Finding("registry", "ok", "no model was registered yet")
        return
    try:
        profile = read_profile(root)
    except ConfigError as error:
        yield Finding("registry", "problem", str(error), "mend the profile; docs/configuration.md lists its keys")
        return
    name = profile.config.register_.model_name
    try:
        count, lost = _look(root, profile)
    except UserError as error:
        passing = isinstance(error, PassingError)
        fix = "start MLflow's server, or unset MLFLOW_TRACKING_URI" if passing else "mend that, and look again"
        yield Finding("registry", "warning", str(error), fix)
        return
    if not lost:
        yield Finding("registry", "ok", f"{count} versions of {name}")
        return
    what = f"{count} versions of {name}, none of the package in dvc.lock" if count else f"empty ({name})"
    package = data_folder(root, profile.name) / PACKAGE_STEP
    absent = lock_md5(root, package) is not None and not package.is_dir()
    fix = "make demo" if absent else "dvc repro -f -s register"  # which needs the package here
    yield Finding("registry", "problem", f"{what}, though DVC holds `register` for done", fix)


def _look(root: Path, profile: Profile) -> tuple[int, bool]:
    """How many versions there are, and whether the package of ``dvc.lock`` is missing among them."""
    if store_is_missing(root):
        return 0, True  # connecting would create the database
    with reachable(root) as tracking:
        count = len(tracking.mlflow.search_model_versions(f"name = '{profile.config.register_.model_name}'"))
        return count, lacks_package(tracking, profile)
