"""Addresses into MLflow's page: where each leads, and that each asks for the view for training."""

import pytest

from tinygptv.tracking import pages

SERVER = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("page", "route"),
    [
        (pages.of_experiments(SERVER), "/#/experiments"),
        (pages.of_experiment(SERVER, "3"), "/#/experiments/3/runs"),
        (pages.of_run(SERVER, "3", "f" * 32), f"/#/experiments/3/runs/{'f' * 32}"),
        (pages.of_version(SERVER, "my model/a?b", "4"), "/#/models/my%20model%2Fa%3Fb/versions/4"),
    ],
)
def test_a_page_opens_in_the_view_for_training(page, route):
    """In MLflow's page the query is behind the route; without it a new browser gets the view for chat models."""
    assert page == f"{SERVER}{route}?workflowType=machine_learning"
    assert pages.server_of(page) == SERVER
