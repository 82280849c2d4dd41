"""The command ``tinygptv``. Thin: what a command needs is imported when it runs, so that ``--help`` is quick.

Exit codes: 0 done, 1 a bug or (``doctor``) a problem, 2 something the user can mend (one line), 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tinygptv.errors import EXIT_USER_ERROR, UserError

app = typer.Typer(
    help="TinyGPT-V: ask the trained model, read its results, check the machine.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RootOption = Annotated[Path | None, typer.Option("--root", help="The checkout (default: the one around this folder).")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="Profile (default: the one in params.yaml).")]


@app.command()
def ask(
    image: Annotated[Path, typer.Argument(help="A picture: PNG, JPEG or WebP.")],
    question: Annotated[str, typer.Argument(help='Such as "what shape is in the image?".')],
    model: Annotated[
        str | None, typer.Option(help="A folder, or models:/tinygptv@champion (default: the profile's 8-bit model).")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda or auto.")] = "cpu",
) -> None:
    """Answer a question about a picture."""
    if not image.is_file():
        raise UserError(f"{image} does not exist; name a picture")
    if not question.strip():
        raise UserError("the question is empty; ask something")
    source = model if model is not None else str(_default_model())
    import tinygptv

    print(tinygptv.load(source, device).answer([image], [question])[0])


@app.command()
def results(root: RootOption = None, profile: ProfileOption = None) -> None:
    """Show the accuracies of the last evaluation beside their baselines."""
    from tinygptv.results import results_table

    folder = _root(root)
    print(results_table(folder, _profile_name(folder, profile)))


@app.command()
def doctor(root: RootOption = None) -> None:
    """Check versions, machine and checkout, and say what to do about each problem."""
    from tinygptv.doctor import examine, has_problem, report

    checks = examine(_root(root))
    print(report(checks))
    if has_problem(checks):
        raise typer.Exit(1)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; what a user can mend becomes one line instead of a traceback."""
    try:
        app(args=arguments, prog_name="tinygptv")
    except UserError as error:
        print(f"tinygptv: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except SystemExit as end:  # how typer ends, also for its own usage errors
        return end.code if isinstance(end.code, int) else 0
    return 0


def _root(given: Path | None) -> Path:
    from tinygptv.steps.harness import find_root

    return find_root((given or Path.cwd()).resolve())


def _profile_name(root: Path, given: str | None) -> str:
    """The profile's name; the configuration itself is not needed here."""
    from tinygptv.profiles import read_yaml

    if given is not None:
        return given
    params = read_yaml(root / "params.yaml")
    if not isinstance(params, dict) or "profile" not in params:
        raise UserError(f"{root / 'params.yaml'} has no key `profile`")
    return str(params["profile"])


def _default_model() -> Path:
    root = _root(None)
    folder = root / "data" / _profile_name(root, None) / "quantize" / "model"
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; run `make demo` first, or name a model with --model")
    return folder


if __name__ == "__main__":
    sys.exit(main())
