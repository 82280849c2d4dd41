"""``timeline``: where the time of a training step goes."""

from __future__ import annotations

from typing import Annotated

import typer

from tinygptv.commands.options import ProfileOption, RootOption, checkout


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("timeline")(timeline)


def timeline(
    stage: Annotated[str, typer.Argument(help="stage1 to stage4.")],
    steps: Annotated[int, typer.Option(min=1, help="How many steps are looked at, after two others.")] = 5,
    profile: ProfileOption = None,
    root: RootOption = None,
) -> None:
    """Show where the time of a stage's steps goes.

    They are made with its data and its model, and leave nothing but a trace for Chrome's tracing page or Perfetto.
    """
    from tinygptv.provenance import timeline

    timeline.run(checkout(root), profile, stage, steps)
