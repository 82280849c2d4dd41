"""``tinygptv team up``, ``down``, ``status`` and ``env``: the servers on PostgreSQL and S3 (docs/team.md)."""

from __future__ import annotations

import os
import shlex

import typer

from tinygptv.commands.options import RootOption, checkout
from tinygptv.ground.tables import say


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    team = typer.Typer(help="Run MLflow and Prefect on PostgreSQL and S3.")
    for command in (up, down, status, env):
        team.command()(command)
    app.add_typer(team, name="team")


def up(root: RootOption = None) -> None:
    """Start PostgreSQL, S3, MLflow, Prefect, its worker."""
    from tinygptv.services.status import table
    from tinygptv.team import up as team

    folder = checkout(root)
    statuses = team.up(folder, os.environ, say)
    url, endpoint = team.remote(folder)
    print(f"{table(statuses)}\n\nDVC remote: {url}, endpointurl {endpoint}")
    print('`eval "$(tinygptv team env)"` lets this terminal record there; it holds the passwords.')


def down(root: RootOption = None) -> None:
    """End the servers and the stores; data and passwords stay."""
    from tinygptv.team import up as team

    if not team.down(checkout(root), os.environ, say):
        print("nothing runs")


def status(root: RootOption = None) -> None:
    """Show the state of the stores; `tinygptv status` has the servers. Exit code 1: one of them does not run."""
    from tinygptv.team import up as team

    shown, well = team.table(checkout(root), os.environ)
    print(shown)
    if not well:
        raise typer.Exit(1)


def env(root: RootOption = None) -> None:
    """Print addresses and passwords as lines for a shell.

    Of MLflow, Prefect and the DVC remote.
    """
    from tinygptv.team import up as team

    for name, value in team.exports(checkout(root)).items():
        print(f"export {name}={shlex.quote(value)}")
