"""MLflow's pages, as a person opens them.

A browser that nobody told otherwise shows MLflow's view for chat models ("Evaluation runs", judges, prompts), whatever
kind an experiment is tagged with. An address can ask for the view for training. Links within the page forget it again;
who chooses `Model training` at its top left keeps it in that browser.
"""

from __future__ import annotations

from urllib.parse import quote

VIEW = "workflowType=machine_learning"


def of_experiments(server: str) -> str:
    """The list of all experiments."""
    return _page(server, "experiments")


def of_experiment(server: str, experiment: str) -> str:
    """The runs of an experiment, by its id."""
    return _page(server, "experiments", experiment, "runs")


def of_run(server: str, experiment: str, run: str) -> str:
    """A run, by the ids of its experiment and its own."""
    return _page(server, "experiments", experiment, "runs", run)


def of_version(server: str, name: str, version: str) -> str:
    """A version of a registered model."""
    return _page(server, "models", name, "versions", version)


def server_of(page: str) -> str:
    """The server of a page."""
    return page.partition("/#/")[0]


def _page(server: str, *route: str) -> str:
    return f"{server}/#/{'/'.join(quote(part, safe='') for part in route)}?{VIEW}"
