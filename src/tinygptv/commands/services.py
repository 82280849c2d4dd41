"""``tinygptv up``, ``down`` and ``status``: the servers beside the pipeline."""

from __future__ import annotations

import os

import typer

from tinygptv.commands.options import RootOption, checkout
from tinygptv.ground import servers
from tinygptv.ground.tables import say


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(root: RootOption = None) -> None:
    """Start MLflow, Prefect and its worker here.

    The schedules of prefect.yaml are applied.
    """
    from tinygptv.services import page
    from tinygptv.services import up as services
    from tinygptv.services.status import table

    folder = checkout(root)
    statuses = services.up(folder, os.environ, say)
    print(table(statuses))
    print("Prefect's page asks for the text of `auth` in .state/services/settings.json, MLflow's for `mlflow_auth`.")
    print(f"Runs: {page.of_runs(statuses[0].service.settings)}")
    print("MLflow's other pages are for chat models until you choose `Model training`, once, at their top left.")


def down(root: RootOption = None) -> None:
    """End what `up` started, runs at work included.

    Their steps save their state.
    """
    from tinygptv.services import up as services

    if not services.down(checkout(root), os.environ, say):
        print("nothing runs")


def status(root: RootOption = None) -> None:
    """Show state, PID, address and log of each server. Exit code 1: one of them does not run."""
    from tinygptv.services import stack
    from tinygptv.services.status import look, table

    folder = checkout(root)
    chosen = servers.read(folder)
    if chosen is None:
        print("nothing was started here yet; run `tinygptv up`")
        raise typer.Exit(1)
    statuses = [look(service) for service in stack.services(chosen, os.environ)]
    print(table(statuses))
    if not all(status.running for status in statuses):
        raise typer.Exit(1)
