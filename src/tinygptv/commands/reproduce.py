"""``reproduce``: the authors' published checkpoints before the benchmarks of their paper."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tinygptv.commands.options import PATH, ProfileOption, RootOption, checkout, require_folder


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("reproduce")(reproduce)


def reproduce(
    checkpoints: Annotated[
        Path, typer.Option(help="Folder with the authors' files, under their published names.", **PATH)
    ],
    profile: ProfileOption = None,
    root: RootOption = None,
) -> None:
    """Measure the authors' weights on their benchmarks.

    Beside the paper's numbers, in reproduction.json and reproduction.md of the profile's reports.
    """
    from tinygptv.config.profiles import read_profile
    from tinygptv.ground.file_names import REPRODUCTION, REPRODUCTION_TABLE
    from tinygptv.ground.files import write_json, write_text
    from tinygptv.ground.folders import reports_folder

    home = checkout(root)
    chosen = read_profile(home, profile)
    require_folder(checkpoints, "the folder with the authors' files (docs/checkpoints.md)")
    from tinygptv.evaluation.authors_files import find_published

    files = find_published(checkpoints)
    from tinygptv.evaluation import reproduction

    with redirect_stdout(sys.stderr):  # how far it is, beside the result
        found = reproduction.reproduce(home, chosen, files)
    folder = reports_folder(home, chosen.name)
    write_json(folder / REPRODUCTION, found)
    write_text(folder / REPRODUCTION_TABLE, reproduction.markdown(found))
    print(reproduction.plain(found))
