"""A user's files as a data set: their form, and the section of a profile that names them."""

from __future__ import annotations

from pathlib import Path

from tinygptv.config import DataSet
from tinygptv.config.formats import FORMATS
from tinygptv.data.recognise import Look, Recognised, recognise
from tinygptv.ground.errors import UserError, meant
from tinygptv.own_data.amounts import held_out
from tinygptv.remotes.fetch import fetch
from tinygptv.remotes.places import address_at, is_address, parse

BINARY = {".parquet": "parquet", ".tar": "webdataset", ".gz": "webdataset"}
"""Endings of files of which a damaged one looks like nothing; the form that says what is wrong."""


def check_options(images: str | Path | None, wanted: str | None) -> None:
    """Check what ``--images`` and ``--format`` name.

    Raises:
        UserError: a folder that is none, or a form that is not known; of an address only its form is looked at.
    """
    if images is not None and not exists(images, folder=True):
        what = "is a file" if Path(images).exists() else "does not exist"
        raise UserError(f"--images {images} {what}; name the folder that holds the pictures")
    if wanted is not None and wanted not in FORMATS:
        raise UserError(f"--format {wanted}: no such form; known are {', '.join(FORMATS)}{meant(wanted, FORMATS)}")


def exists(given: str | Path, *, folder: bool = False) -> bool:
    """Whether there is a file or folder of a name; an address may have one.

    Args:
        given: what a user typed.
        folder: whether it must be a folder.

    Raises:
        UserError: it begins as an address, and is none.
    """
    if not is_address(given):
        return Path(given).is_dir() if folder else Path(given).exists()
    try:
        return bool(parse(str(given)))
    except ValueError as error:
        raise UserError(str(error)) from None


def place_of(given: str | Path, root: Path) -> Path:
    """Where a file or folder lies; what lies elsewhere is fetched first.

    Raises:
        UserError: as of ``remotes.fetch``.
    """
    return fetch(str(given), root) if is_address(given) else Path(given).absolute()


def form_at(data: Path, images: Path | None, wanted: str | None) -> tuple[str, Recognised]:
    """The form of the files.

    Raises:
        UserError: none fits, or more than one.
    """
    found = recognise(data, images)
    if wanted is not None:
        named = Recognised(why="--format says so", files=(data,), images=images)
        return wanted, found.get(wanted, named)
    if not found:
        held = Look(data, images).named(*BINARY)
        hint = f"; {held[0]} may be damaged: --format {BINARY[Path(held[0]).suffix.lower()]} says so" if held else ""
        known = f"name one with --format ({', '.join(FORMATS)}), or see docs/data.md"
        raise UserError(f"{data} is of no form that is known{hint}; {known}")
    if len(found) > 1:
        fits = "; ".join(f"{form}: {of_form.why}" for form, of_form in found.items())
        raise UserError(f"{data} could be of {len(found)} forms; name one with --format ({fits})")
    return next(iter(found.items()))


def data_set_of(root: Path, form: str, found: Recognised, licence: str | None) -> DataSet:
    """The data set as the profile has it; its shares of held-out images come later, for they need a count."""
    return DataSet.model_validate(
        {
            "format": form,
            "files": tuple(_place(path, root) for path in found.files),
            "images": _place(found.images, root) if found.images is not None else "",
            "split": held_out(1),
            "licence": licence or "unknown",
            **found.settings,
        }
    )


def _place(path: Path, root: Path) -> str:
    """A file as profiles name it: from the checkout on, or absolute where it lies outside; its address."""
    path = path.absolute()
    near = path.relative_to(root) if path.is_relative_to(root) else path
    name = address_at(path, root) or str(near)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{name!a} is a name that is no UTF-8, and YAML holds none; rename it") from None
    return name
