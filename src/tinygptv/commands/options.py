"""Options that several commands have, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinygptv.errors import UserError

RootOption = Annotated[Path | None, typer.Option("--root", help="The checkout (default: the one around this folder).")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="Profile (default: the one in params.yaml).")]


def checkout(given: Path | None) -> Path:
    """The folder of ``--root``, or the checkout around the current folder.

    Raises:
        UserError: there is none.
    """
    from tinygptv.steps.harness import find_root

    return find_root((given or Path.cwd()).resolve())


def profile_name(root: Path, given: str | None) -> str:
    """The name of ``--profile``, or that in ``params.yaml``; the configuration itself is not needed here.

    Raises:
        UserError: ``params.yaml`` names none.
    """
    from tinygptv.profiles import read_yaml

    if given is not None:
        return given
    params = read_yaml(root / "params.yaml")
    if not isinstance(params, dict) or "profile" not in params:
        raise UserError(f"{root / 'params.yaml'} has no key `profile`")
    return str(params["profile"])
