"""A family of ablations as a run of the profile's experiment, with a run below it for each variant and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json
from tinygptv.tracking import facts
from tinygptv.tracking.client import PIPELINE_TAG, Tracking
from tinygptv.tracking.pipelines import PARENT_TAG
from tinygptv.tracking.spool import flatten

FAMILY_TAG = "ablations.family"
RESULT_TAG = "ablations.result"
AT_THE_END = ("loss", "grad_norm")


def record(tracking: Tracking, file: Path) -> str:
    """Record the results of a family; the same ones twice are the same runs.

    The runs of the pipelines that trained a variant are put below it.

    Args:
        tracking: the store.
        file: what ``benchmarks/ablations.py`` wrote.

    Returns:
        The family's URL.

    Raises:
        DataError: the file is no such result.
    """
    content: Any = read_json(file)
    try:
        family, profile = str(content["family"]), str(content["profile"])
        found = [(_tags(one), _values(one), one) for one in content["trained"]]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"{file} is no result of benchmarks/ablations.py ({error!r}); run it again") from None
    experiment = tracking.experiment(profile)
    parent = tracking.run_once(experiment, FAMILY_TAG, family, f"ablations {family}", {"profile": profile})
    for tags, values, one in found:
        _record_one(tracking, experiment, {**tags, "profile": profile, PARENT_TAG: parent}, values, one)
    tracking.mlflow.set_terminated(parent, "FINISHED", max((one["ended"] for _, _, one in found), default=None))
    return tracking.url(experiment, parent)


def _tags(one: dict[str, Any]) -> dict[str, str]:
    """The tags that the pipeline which trained it has, too."""
    name, baseline = facts.EXPERIMENT_TAGS.values()
    return {name: str(one["experiment"]), baseline: str(one["commit"])}


def _values(one: dict[str, Any]) -> dict[str, float]:
    """What each stage ended with, and the accuracy."""
    found = {f"{stage}.{key}": points[-1][key] for stage, points in one["histories"].items() for key in AT_THE_END}
    return {name: float(value) for name, value in (found | {"accuracy": one["accuracy"]}).items() if value is not None}


def _record_one(
    tracking: Tracking, experiment: str, tags: dict[str, str], values: dict[str, float], one: dict[str, Any]
) -> None:
    from mlflow.entities import Metric, Param

    name = f"{one['variant']}, seed {one['seed']}"
    run = tracking.run_once(experiment, RESULT_TAG, f"{one['experiment']} {one['key']}", name, tags, one["began"])
    params = flatten({"variant": one["variant"], "seed": one["seed"], **one["changes"]})
    tracking.mlflow.log_batch(
        run,
        metrics=[Metric(name, value, one["ended"], 0) for name, value in values.items()],
        params=[Param(name, value) for name, value in params.items()],
    )
    if one["stopped"]:
        tracking.mlflow.set_tag(run, "stopped", one["stopped"])
    tracking.mlflow.set_terminated(run, "FAILED" if one["stopped"] else "FINISHED", one["ended"])
    same = " and ".join(f"tags.`{tag}` = '{tags[tag]}'" for tag in facts.EXPERIMENT_TAGS.values())
    for pipeline in tracking.mlflow.search_runs([experiment], same):
        if PIPELINE_TAG in pipeline.data.tags:
            tracking.mlflow.set_tag(pipeline.info.run_id, PARENT_TAG, run)
