"""Options that several commands have, what they mean, and what no value of theirs may be.

What is wrong with a command line is said before anything heavy is imported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tinygptv.ground.errors import UserError, meant

DEVICES = re.compile(r"cpu|auto|cuda(:\d+)?")


def path(text: str) -> Path:
    """The path of an argument; an empty one, as of a variable that is not set, would mean the current folder."""
    if not text:
        raise typer.BadParameter("it is empty; name a file or folder")
    return Path(text)


def place(text: str) -> str:
    """The path or address of an argument (docs/own_data.md)."""
    return text if "://" in text else str(path(text))


def finite(value: float | None) -> float | None:
    """A number that can be counted with."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


def one_of(*words: str) -> Callable[[str | None], str | None]:
    """A check that lets nothing but these words through, and None where the option may be left out."""

    def check(word: str | None) -> str | None:
        if word is not None and word not in words:
            raise typer.BadParameter(f"{word!r} is none of {', '.join(words)}{meant(word, words)}")
        return word

    return check


def known_device(name: str) -> str:
    """Where torch can compute."""
    if not DEVICES.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is none of cpu, cuda and auto")
    return name


PATH: dict[str, Any] = {"parser": path}
"""Of every argument and option with a path."""
PLACE: dict[str, Any] = {"parser": place}
"""Of those that may lie elsewhere, too."""
RootOption = Annotated[
    Path | None, typer.Option("--root", help="The checkout (default: the one around this folder).", **PATH)
]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="Profile (default: the one in params.yaml).")]
DeviceOption = Annotated[str, typer.Option(callback=known_device, help="Where to compute: cpu, cuda or auto.")]


def checkout(given: Path | None) -> Path:
    """The folder of ``--root``, or the checkout around the current folder.

    Raises:
        UserError: there is none.
    """
    from tinygptv.ground.folders import find_root

    if given is not None and not given.is_dir():
        raise UserError(f"--root {given}: there is no such folder; name the checkout, or leave --root out")
    return find_root((given or Path.cwd()).resolve())


def profile_name(root: Path, given: str | None) -> str:
    """The name of ``--profile``, or that in ``params.yaml``.

    Raises:
        UserError: ``params.yaml`` names none, or there is no profile of the given name.
    """
    from tinygptv.ground.yaml_files import active_profile, profile_file

    return active_profile(root) if given is None else profile_file(root, given).stem


def require_file(path: Path, name: str) -> None:
    """Refuse what is no file.

    Args:
        path: what was given.
        name: what it is to be, such as ``a picture``.

    Raises:
        UserError: it does not exist, or is a folder.
    """
    if not path.is_file():
        raise UserError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; name {name}")


def require_folder(path: Path, name: str) -> None:
    """Refuse what is no folder.

    Args:
        path: what was given.
        name: what it is to be.

    Raises:
        UserError: it does not exist, or is a file.
    """
    if not path.is_dir():
        raise UserError(f"{path} {'is a file' if path.exists() else 'does not exist'}; name {name}")


def require_new(path: Path) -> None:
    """Refuse a place where something is already, or where no folder can be made.

    Raises:
        UserError: it exists, or lies below a file.
    """
    if path.exists():
        raise UserError(f"{path} exists; name a new folder, or remove it")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{path} cannot be made: {above} is a file; name another folder")
