"""``score``: what predictions of any model reach on a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinygptv.commands.options import PATH, require_file
from tinygptv.ground.errors import UserError, meant


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(score)


def score(
    benchmark: Annotated[str, typer.Argument(help="Such as gqa; docs/evaluation.md has them all.")],
    annotations: Annotated[
        list[Path],
        typer.Option(help="Official file with what is right, or a folder of such; may be given again.", **PATH),
    ],
    predictions: Annotated[Path, typer.Option(help="File of predictions: JSON, JSON lines, CSV or TSV.", **PATH)],
    split: Annotated[str | None, typer.Option(help="Published split (default: the benchmark's first).")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="A question without a prediction counts as wrong.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON, numbers not rounded.")] = False,
) -> None:
    """Count any model's predictions as a benchmark does.

    By its official metric; the numbers of the paper's authors stand beside it.
    """
    import json

    from tinygptv.evaluation.score_files import scorable, score_files
    from tinygptv.evaluation.score_table import table

    known = scorable()
    if benchmark not in known:
        told = f"{benchmark!r} is no benchmark with files of predictions"
        raise UserError(f"{told}; known are {', '.join(known)}{meant(benchmark, known)}")
    for path in annotations:
        if not path.exists():
            raise UserError(f"--annotations {path} does not exist; name the benchmark's file or folder")
    require_file(predictions, "a file of predictions")
    found = score_files(benchmark, annotations, predictions, split, allow_missing=allow_missing)
    print(json.dumps(found.as_json(), indent=2) if as_json else table(found))
