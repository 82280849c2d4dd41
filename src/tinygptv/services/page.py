"""Where a person finds the runs of a checkout in MLflow's page."""

from __future__ import annotations

from tinygptv.ground.errors import ConfigError
from tinygptv.ground.servers import ServerSettings
from tinygptv.ground.stores import stores_of
from tinygptv.ground.yaml_files import active_profile
from tinygptv.tracking import pages, rest
from tinygptv.tracking.client import experiment_name


def of_runs(chosen: ServerSettings) -> str:
    """The page of the runs of the profile in ``params.yaml``; before its first run, that of all experiments."""
    try:
        asked = {"experiment_name": experiment_name(active_profile(chosen.root))}
        found = rest.ask(chosen.mlflow, "experiments/get-by-name", asked, stores_of(chosen).login)
    except (OSError, ConfigError):  # MLflow answers 404, or there is no profile
        return pages.of_experiments(chosen.mlflow)
    return pages.of_experiment(chosen.mlflow, found["experiment"]["experiment_id"])
