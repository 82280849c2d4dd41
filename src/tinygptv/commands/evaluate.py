"""``evaluate``: any model before the test questions of a profile."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, get_args

import typer

from tinygptv.commands.options import PATH, ProfileOption, RootOption, checkout
from tinygptv.config.base import Preset
from tinygptv.ground.errors import UserError
from tinygptv.ground.folders import data_folder


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("evaluate")(evaluate)


def names_of(text: str | None) -> list[str]:
    """The names of a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()] if text is not None else []


def presets_of(text: str | None) -> list[Preset]:
    """The presets of a list with commas."""
    known: tuple[Preset, ...] = get_args(Preset)
    found = names_of(text)
    if unknown := [name for name in found if name not in known]:
        raise typer.BadParameter(f"--preset: {unknown[0]!r} is none of {', '.join(known)}")
    return [preset for name in found for preset in known if preset == name]


def made_by(root: Path, profile: str, step: str) -> Path:
    """What a step of the profile has left.

    Raises:
        UserError: it has not run.
    """
    from tinygptv.ground.worktree import how_to_make

    folder = data_folder(root, profile) / step
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; run {how_to_make(root, profile, step)}")
    return folder


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A model's folder, models:/NAME@ALIAS, or a stage of the profile: stage1 to stage4.")
    ],
    profile: ProfileOption = None,
    benchmarks: Annotated[
        str | None, typer.Option(help="Names as in reports, with commas (default: all of the profile).")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="as_trained, authors_released, or both with a comma (default: the profile's).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the entries there, as JSON.", **PATH)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    root: RootOption = None,
) -> None:
    """Measure a model on the profile's test questions.

    With the numbers, intervals and baselines of a report.
    """
    import json

    from tinygptv.config.profiles import read_profile
    from tinygptv.evaluation.measuring import measure, questions_asked
    from tinygptv.ground.files import write_json
    from tinygptv.ground.names import STAGES
    from tinygptv.results import table_of
    from tinygptv.tracking import check_source, local_folder

    home, presets = checkout(root), presets_of(preset)
    asked = read_profile(home, profile)
    if model not in STAGES:
        check_source(model)
    questions = questions_asked(home, asked, names_of(benchmarks))
    from tinygptv.evaluation.package import folder_subject
    from tinygptv.evaluation.subjects import stage_subject

    with redirect_stdout(sys.stderr):  # how far it is, beside the result
        if model in STAGES:
            folders = (made_by(home, asked.name, step) for step in ("backbones", model))
            found = measure(home, asked, stage_subject(asked.config, model, *folders), questions, presets)
        else:
            with local_folder(model) as folder:
                found = measure(home, asked, folder_subject(asked.config, folder), questions, presets)
    if out is not None:
        write_json(out, found)
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else table_of(found, model))
