"""``data fetch`` and ``data lock``: getting data; ``data check`` and ``data show``: what training would see of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinygptv.commands.options import PATH, PLACE, ProfileOption, RootOption, checkout, require_folder


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    data = typer.Typer(help="Get data sets, and look at them before training.", rich_markup_mode=None)
    data.command()(check)
    data.command()(show)
    data.command()(fetch)
    data.command("lock")(pin)
    app.add_typer(data, name="data")


def check(
    data: Annotated[
        str, typer.Argument(metavar="NAME_OR_PATH", help="A profile; a file or folder with records; its address.")
    ],
    images: Annotated[
        str | None, typer.Option(help="Of a path: the folder that names of pictures are relative to.", **PLACE)
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Of a path: the form of its files (default: what they look like).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON; lines go to stderr.")] = False,
    root: RootOption = None,
) -> None:
    """Read every record and every picture, and say what is wrong.

    Exit code 2: training would fail.
    """
    import json
    import sys
    from contextlib import redirect_stdout

    from tinygptv.ground.errors import DataError
    from tinygptv.own_data import asked

    folder = checkout(root)
    what = asked.find(folder, data, images, form)
    from tinygptv.own_data.check import check as look  # now, for it takes a while
    from tinygptv.own_data.check_table import table

    with redirect_stdout(sys.stderr):  # progress is no result
        found = look(folder, what.profile, what.config, what.sets, what.most_rejected)
    failures = found.all_failures
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    elif any(of_set.found for of_set in found.sets.values()):
        print("\n".join([*what.lines, table(found)]))
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise DataError(f"{data} cannot be trained on: {failures[0]}{more}")
    if not as_json:
        print(f"\n{data} can be trained on")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A profile.")],
    count: Annotated[int, typer.Option("--n", min=1, max=100, help="Samples.")] = 12,
    out: Annotated[Path | None, typer.Option(help="The PNG (default: .state/NAME/samples.png).", **PATH)] = None,
    root: RootOption = None,
) -> None:
    """Draw samples as they will be trained: picture, boxes, tokens, and which of these carry loss."""
    import sys
    from contextlib import redirect_stdout

    from tinygptv.config.profiles import read_profile
    from tinygptv.ground.errors import UserError
    from tinygptv.ground.folders import state_folder

    folder = checkout(root)
    if out is not None and (out.suffix != ".png" or not out.absolute().parent.is_dir()):
        raise UserError(f"--out {out}: name a PNG file in a folder that exists")
    profile = read_profile(folder, name)
    from tinygptv.own_data.show import show as draw

    path = out if out is not None else state_folder(folder, profile.name) / "samples.png"
    with redirect_stdout(sys.stderr):
        told = draw(folder, profile, count, path)
    print(told)


NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Entries of configs/datasets.lock.json.")
]
FolderOption = Annotated[
    Path | None, typer.Option("--from", help="A folder that has the files already; nothing is downloaded.", **PATH)
]


def fetch(
    names: NamesArgument = None,
    profile: ProfileOption = None,
    folder: FolderOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Go on after the plan.")] = False,
    root: RootOption = None,
) -> None:
    """Get published data sets into data/raw.

    Shows files, bytes, hours, licences and what is to be done by hand, and fetches with --yes what is not there.
    """
    from tinygptv.ground.errors import UserError

    home = checkout(root)
    if folder is not None:
        require_folder(folder, "the folder that has the files")
    if not names and profile is None:
        raise UserError("name data sets, or a profile with --profile; docs/fetching.md lists them")
    from tinygptv.fetching import asked

    asked.fetch(home, tuple(names or ()), profile, folder, yes=yes)


def pin(names: NamesArgument = None, folder: FolderOption = None, root: RootOption = None) -> None:
    """Pin size and digest of files that nobody has pinned.

    What their addresses have the first time is taken on trust, kept, and written into configs/datasets.lock.json.
    """
    from tinygptv.ground.errors import UserError

    home = checkout(root)
    if folder is not None:
        require_folder(folder, "the folder that has the files")
    if not names:
        raise UserError("name data sets; docs/fetching.md lists them")
    from tinygptv.fetching import asked

    asked.pin(home, tuple(names), folder)
