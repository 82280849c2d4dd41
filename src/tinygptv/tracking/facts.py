"""What a run says about itself besides numbers: which configuration, inputs and environment, and whose run it is."""

from __future__ import annotations

import getpass
import hashlib
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tinygptv.ground.errors import brief, complain
from tinygptv.ground.files import canonical
from tinygptv.ground.graph import inputs_of, viewed_by

CONFIG_TAG = "config.sha256"
INPUTS_TAG = "dvc.inputs"
VIEWED_TAG = "dvc.viewed"
"""The inputs of which the step depends on a view: another output with the same view would have done as well."""
ENVIRONMENT_TAG = "environment"
ENVIRONMENT_DIGEST_TAG = "environment.sha256"
USER_TAG = "user"
EXPERIMENT_TAGS = {"DVC_EXP_NAME": "dvc.exp.name", "DVC_EXP_BASELINE_REV": "dvc.exp.baseline"}
"""DVC's variables in the steps of an experiment (`dvc exp run`, `python -m flows.pipeline --set`), and their tags."""


def at_start(params: Mapping[str, object], stage: Mapping[str, Any]) -> dict[str, str]:
    """Tags that are known before the step begins.

    Args:
        params: the seed and the sections of the configuration that the step depends on.
        stage: the step's entry in ``dvc.yaml``.
    """
    inputs = ",".join(inputs_of(stage))  # which digests the run must name, whatever the graph becomes later
    viewed = ",".join(viewed_by(stage))
    return {CONFIG_TAG: digest(params), INPUTS_TAG: inputs, VIEWED_TAG: viewed, USER_TAG: user(), **experiment()}


def experiment() -> dict[str, str]:
    """By which name DVC knows the experiment that this process works for, and from which commit it began."""
    return {tag: os.environ[name] for name, tag in EXPERIMENT_TAGS.items() if os.environ.get(name)}


def at_end() -> dict[str, str]:
    """Tags with the environment, as the step's own imports have made it by its end."""
    found = environment()
    return {ENVIRONMENT_TAG: canonical(found), ENVIRONMENT_DIGEST_TAG: digest(found)}


def environment() -> dict[str, Any]:
    """What decides the bits of the step: all of it where the step used torch, else without importing torch."""
    if "torch" in sys.modules:
        from tinygptv.ground import runtime

        try:
            return dict(runtime.environment())
        except Exception as problem:  # a GPU that has just failed, for one: the record must not hide the step's error
            complain("tracking", f"the environment cannot be described in full ({brief(problem)})")
    from tinygptv.ground.runtime import software

    return dict(software())


def source(name: str, git_sha: str) -> dict[str, str]:
    """MLflow's own tags for its columns *Created by*, *Source* and *Version*.

    Args:
        name: what ran, such as ``flows.pipeline``.
        git_sha: the commit; ``none`` outside of git.
    """
    found = {"mlflow.user": user(), "mlflow.source.name": name, "mlflow.source.type": "LOCAL"}
    return found | ({"mlflow.source.git.commit": git_sha} if git_sha != "none" else {})


def user() -> str:
    """Who runs this, by the login name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have a number and no name
        return "unknown"


def now() -> str:
    """This second, UTC, as ISO 8601."""
    return iso(datetime.now(UTC).timestamp())


def iso(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
