"""``promote``, ``rollback`` and ``evaluate-champion``: which version of the model is in use."""

from __future__ import annotations

from typing import Annotated

import typer

from tinygptv.commands.options import ProfileOption, RootOption, checkout

JsonOption = Annotated[bool, typer.Option("--json", help="The result as JSON.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(promote)
    app.command()(rollback)
    app.command("evaluate-champion")(evaluate_champion)


def promote(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Number or alias of the version (default: challenger).")
    ] = None,
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Make a version champion if it passes the gate.

    It is compared with the present champion. Exit code 1: it was refused.
    """
    import json

    from tinygptv.config.profiles import read_profile
    from tinygptv.promotion import promote, record

    folder = checkout(root)
    done = promote.promote(folder, read_profile(folder, profile), version)
    if as_json:
        print(json.dumps(done.as_json(), indent=2, ensure_ascii=False))
    else:
        if done.decision is not None:
            print(f"{record.table(done.decision)}\n")
        print(done.line())
    if done.refused:
        raise typer.Exit(1)


def rollback(as_json: JsonOption = False, root: RootOption = None, profile: ProfileOption = None) -> None:
    """Make the previous champion champion again."""
    import json

    from tinygptv.config.profiles import read_profile
    from tinygptv.promotion import rollback

    folder = checkout(root)
    done = rollback.rollback(folder, read_profile(folder, profile).config.register_.model_name)
    print(json.dumps(done.as_json(), indent=2) if as_json else done.line())


def evaluate_champion(as_json: JsonOption = False, root: RootOption = None, profile: ProfileOption = None) -> None:
    """Ask the champion its test set again.

    The numbers are recorded. Exit code 1: it misses a limit of its gate.
    """
    import json

    from tinygptv.config.profiles import read_profile
    from tinygptv.promotion import champion, record

    folder = checkout(root)
    done = champion.evaluate_champion(folder, read_profile(folder, profile))
    if as_json:
        print(json.dumps(done.as_json(), indent=2, ensure_ascii=False))
    else:
        print(f"{record.table(done.decision)}\n\n{done.line()}")
    if not done.decision.passed:
        raise typer.Exit(1)
