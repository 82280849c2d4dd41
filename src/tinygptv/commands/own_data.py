"""``new``: a profile of a user's own data."""

from __future__ import annotations

from typing import Annotated

import typer

from tinygptv.commands.options import PLACE, RootOption, checkout


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(new)


def new(
    name: Annotated[str, typer.Argument(help="Of the profile: configs/NAME.yaml.")],
    data: Annotated[str, typer.Option("--data", help="The file or folder with your records, or its address.", **PLACE)],
    images: Annotated[str | None, typer.Option(help="Folder that names of pictures are relative to.", **PLACE)] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Form of the files (default: what they look like; docs/data.md).")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="A profile, PROFILE/stage4, a folder, models:/NAME@ALIAS (default: tiny/stage4)."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data, such as CC0-1.0.")] = None,
    stages: Annotated[str | None, typer.Option(help="Stages that train, with commas (default: stage4).")] = None,
    root: RootOption = None,
) -> None:
    """Write a profile that trains on your own pictures.

    It reads all records first, and prints the command that trains.
    """
    from tinygptv.commands.evaluate import names_of
    from tinygptv.own_data.new import new as write

    write(
        checkout(root), name, data, images=images, format_=form, model=start, licence=licence, stages=names_of(stages)
    )
