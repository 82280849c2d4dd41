"""``tinygptv new``: from a user's files to a profile that trains on them."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from tinygptv.ground.errors import DataError, UserError, meant
from tinygptv.ground.files import write_text
from tinygptv.ground.names import STAGES
from tinygptv.own_data import start as starts
from tinygptv.own_data.files import check_options, data_set_of, exists, form_at, place_of
from tinygptv.own_data.profile import Told, profile_of
from tinygptv.own_data.reading import Reading, read_set

if TYPE_CHECKING:
    from tinygptv.own_data.start import Beginning

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
RESERVED = re.compile(r"verify|(nightly|experiment)-.*")
"""Worktrees have these names (``ground/worktree.py``)."""
SHOWN = 5
"""Problems that are shown."""


def new(
    root: Path,
    name: str,
    data: str | Path,
    *,
    images: str | Path | None = None,
    format_: str | None = None,
    model: str | None = None,
    licence: str | None = None,
    stages: Sequence[str] = (),
    say: Callable[[str], object] = print,
) -> Path:
    """Look at files, read their records, and write a profile.

    Args:
        root: the checkout.
        name: of the profile, and of its data set.
        data: the file or folder, or its address.
        images: the folder that names of pictures are relative to; None: where the files say, or they hold them.
        format_: form of the files; None: what they look like.
        model: what training starts from; None: ``start.DEFAULT``.
        licence: of the data.
        stages: those that train; none: the last.
        say: takes lines for the user.

    Returns:
        The profile's file.

    Raises:
        UserError: what is wrong with a name, the files or the beginning; nothing is written.
    """
    path = _free(root, name)
    _check(data, images, format_, licence, stages)
    start = starts.find(root, model)
    form, found = form_at(place_of(data, root), place_of(images, root) if images is not None else None, format_)
    say(f"{data}: {form}, for {found.why}")
    settings = data_set_of(root, form, found, licence)
    of_set = name.replace("-", "_")
    reading = read_set(of_set, settings, root)
    _tell(reading, say)
    if not reading.records or not reading.images["train"]:
        what = "has no records that can be trained" if reading.records < 1 else "holds all records out of training"
        fix = "" if images is not None else "; if the pictures lie elsewhere, name their folder with --images"
        raise DataError(f"{data} {what}{_first_problem(reading)}{fix}; nothing was written")
    text, told = profile_of(name, of_set, settings, reading, start, stages)
    _announce(told, start, say)
    write_text(path, text)
    say(f"wrote {path.relative_to(root)}")
    if licence is None:
        say(f"its licence is `unknown`: say it in {path.relative_to(root)}, for the model card names it")
    say(f"next: {next_command(root, name)}")
    return path


def next_command(root: Path, name: str) -> str:
    """The command that trains, as it works in the current folder and shell."""
    own = Path(sys.executable).with_name("python")  # a virtual environment has it beside python3.11
    python = "python" if Path(shutil.which("python") or "").parent == own.parent else _near(own)
    there = "" if Path.cwd().resolve() == root.resolve() else f"cd {quote(str(root))} && "
    return f"{there}{python} -m flows.pipeline --profile {name}"


def _free(root: Path, name: str) -> Path:
    if not NAME.fullmatch(name) or RESERVED.fullmatch(name):
        raise UserError(f"{name!r} is no name of a profile: a letter, then letters, digits, _ and -; up to 40 in all")
    path = root / "configs" / f"{name}.yaml"
    if path.exists():
        raise UserError(f"configs/{name}.yaml exists; give another name, or remove it")
    return path


def _check(
    data: str | Path, images: str | Path | None, wanted: str | None, licence: str | None, stages: Sequence[str]
) -> None:
    """What is wrong with the command line, before anything is read."""
    if not exists(data):
        raise UserError(f"--data {data} does not exist; name the file or folder with the records")
    check_options(images, wanted)
    if licence is not None and not licence.strip():
        raise UserError("--licence is empty; name one, such as CC0-1.0, or leave it out")
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise UserError(f"--stages: {unknown[0]} is no stage; they are {', '.join(STAGES)}{meant(unknown[0], STAGES)}")


def _tell(reading: Reading, say: Callable[[str], object]) -> None:
    tasks = ", ".join(f"{count:,} {task}" for task, count in reading.tasks.most_common())
    pictures = sum(reading.images.values()) - reading.texts
    texts = f" and {reading.texts:,} records without one" if reading.texts else ""
    say(f"{reading.found:,} records ({tasks or 'none that can be read'}) of {max(pictures, 0):,} pictures{texts}")
    if reading.rejections.count:
        say(f"{reading.rejections.count:,} of them are left out:")
        for rejection in reading.rejections.first[:SHOWN]:
            say(f"  {rejection['id']}: {rejection['reason']}")
        if reading.rejections.count > SHOWN:
            say("  …")


def _first_problem(reading: Reading) -> str:
    first = reading.rejections.first
    return f": the first is {first[0]['id']}: {first[0]['reason']}" if first else ""


def _announce(told: Told, start: Beginning, say: Callable[[str], object]) -> None:
    say(f"held out by content: {told.held_out}")
    say(told.judged)
    for line in told.warnings:
        say(line)
    say(f"starts from {start}; {told.training}")


def _near(path: Path) -> str:
    """A program from the current folder on, where it lies below it."""
    return quote(str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path))
