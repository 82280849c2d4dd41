"""The model registry beside what DVC believes of it.

``register`` has no outputs, so DVC holds it for done wherever ``dvc.lock`` does: on a fresh clone, after ``dvc pull``,
or when the database is gone.
"""

from __future__ import annotations

from pathlib import Path

from tinygptv.config.profiles import Profile
from tinygptv.ground.dvc import lock_md5, locked_steps
from tinygptv.ground.folders import data_folder
from tinygptv.tracking.client import Tracking
from tinygptv.tracking.version_tags import PACKAGE_STEP

STEP = "register"


def held_for_done(root: Path) -> bool:
    """Whether ``dvc.lock`` records the step."""
    return STEP in locked_steps(root)


def lacks_package(tracking: Tracking, profile: Profile) -> bool:
    """Whether no version of the profile's model is of the package that ``dvc.lock`` records."""
    md5 = lock_md5(tracking.root, data_folder(tracking.root, profile.name) / PACKAGE_STEP)
    if md5 is None:
        return True
    name = profile.config.register_.model_name
    return not tracking.mlflow.search_model_versions(f"name = '{name}' and tags.`dvc.md5` = '{md5}'")
