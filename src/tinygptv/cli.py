"""The command ``tinygptv``. Thin: what a command needs is imported when it runs, so that ``--help`` is quick.

Exit codes: 0 done, 1 a bug, a model that computes no numbers, a problem (``doctor``), a broken link (``lineage``), a
difference (``verify``, ``diff``) or too small a device (``plan``), 2 something the user can mend (one line), 75 a fault
that may pass by itself (one line), 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from tinygptv.commands import (
    data,
    evaluate,
    own_data,
    promotion,
    reproduce,
    score,
    services,
    serving,
    team,
    timeline,
    weights,
)
from tinygptv.commands.options import (
    PATH,
    DeviceOption,
    ProfileOption,
    RootOption,
    checkout,
    finite,
    profile_name,
    require_file,
)
from tinygptv.ground.errors import EXIT_USER_ERROR, UserError, complain, from_write_error
from tinygptv.ground.file_names import PACKAGE_FOLDER
from tinygptv.ground.folders import data_folder
from tinygptv.ground.startup import begin
from tinygptv.ground.worktree import how_to_make, output_folders

app = typer.Typer(
    help="TinyGPT-V: ask the trained model, read its results, check the machine, plan, exchange weights.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def ask(
    image: Annotated[Path, typer.Argument(help="A picture: PNG, JPEG or WebP.", **PATH)],
    question: Annotated[str, typer.Argument(help='Such as "what shape is in the image?".')],
    model: Annotated[
        str | None, typer.Option(help="A folder, or models:/tinygptv@champion (default: the profile's 8-bit model).")
    ] = None,
    profile: ProfileOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Answer a question about a picture."""
    import tinygptv
    from tinygptv.data.images import read_image
    from tinygptv.data.tasks import check_question

    require_file(image, "a picture")
    check_question(question)
    if profile is not None and profile_name(checkout(None), profile) and model is not None:
        raise UserError("--model and --profile name two models; give one of them")
    source = model if model is not None else str(_default_model(profile))
    read_image(image, str(image))  # now, for loading a model takes seconds
    print(tinygptv.load(source, device).answer([image], [question])[0])


@app.command()
def results(root: RootOption = None, profile: ProfileOption = None) -> None:
    """Show the last evaluation beside its baselines."""
    from tinygptv.results import results_table, verdict_of

    folder = checkout(root)
    name = profile_name(folder, profile)
    print(results_table(folder, name))
    if plainly := verdict_of(folder, name):
        print(f"\n{plainly}")


@app.command()
def doctor(
    root: RootOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read DVC's whole cache and every output.")] = False,
    manifest: Annotated[
        Path | None, typer.Option(help="Only compare the environment with the one this manifest.json records.", **PATH)
    ] = None,
) -> None:
    """Check this machine and checkout; name each fix."""
    from tinygptv.doctor import examine, has_problem, report

    folder = checkout(root)
    if manifest is not None:
        require_file(manifest, "the manifest.json of a step")
    findings = examine(folder, deep=deep, manifest=manifest)
    print(report(findings))
    if has_problem(findings):
        raise typer.Exit(1)


@app.command()
def plan(
    root: RootOption = None,
    profile: ProfileOption = None,
    gpu: Annotated[
        float | None,
        typer.Option(min=0.1, callback=finite, help="GB of a GPU's memory (default: that of the device of training)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON, in bytes.")] = False,
) -> None:
    """Show the memory, disk and time that each stage needs. Exit code 1: a stage does not fit."""
    import json

    from tinygptv.config.profiles import read_profile
    from tinygptv.planning import plan, table
    from tinygptv.planning.data import count_sets
    from tinygptv.planning.published import published

    folder = checkout(root)
    chosen = read_profile(folder, profile)
    told, to_fetch = published(folder, chosen.config.data)
    counted = told | count_sets(data_folder(folder, chosen.name) / "shards")
    made = plan.make_plan(chosen.config, chosen.name, *plan.device_of(gpu, chosen.config.runtime), counted, to_fetch)
    print(json.dumps(table.as_json(made), indent=2) if as_json else table.render(made))
    if not made.fits:
        raise typer.Exit(1)


@app.command()
def lineage(
    subject: Annotated[
        str,
        typer.Argument(metavar="X", help="models:/tinygptv@champion, a folder, the id of a step's run, or a DVC md5."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    root: RootOption = None,
) -> None:
    """Show what a version, folder, run or md5 is made of.

    Link by link, back to the data. Exit code 1: a link is broken.
    """
    import json

    from tinygptv.tracking import lineage_start, lineage_view

    chain = lineage_start.trace(checkout(root), subject)
    print(json.dumps(chain.as_json(), indent=2, ensure_ascii=False) if as_json else lineage_view.text(chain))
    if chain.broken:
        raise typer.Exit(1)


@app.command()
def verify(
    steps: Annotated[
        list[str] | None, typer.Argument(metavar="[STEP]...", help="Steps (default: all with outputs).")
    ] = None,
    lock: Annotated[
        Path | None, typer.Option("--from", help="A lock file (default: the checkout's dvc.lock).", **PATH)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON; lines go to stderr.")] = False,
    committed: Annotated[
        bool, typer.Option("--committed", help="Take the last commit, whatever is changed in the checkout.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(metavar="SEED", help="Only this week's draw: some steps, parts of long ones.")
    ] = None,
    longest: Annotated[
        float,
        typer.Option(
            min=0.01,
            callback=finite,
            metavar="HOURS",
            help="With --sample: a stage that took longer is looked at in parts.",
        ),
    ] = 1.0,
    root: RootOption = None,
) -> None:
    """Run steps again elsewhere, compare every output.

    In a scratch worktree, against dvc.lock. Exit code 1: something differs.
    """
    from datetime import UTC, datetime

    from tinygptv.provenance import verify
    from tinygptv.provenance.sample import WeeklyDraw

    drawn = None if sample is None else WeeklyDraw(datetime.now(UTC).date(), sample, longest)
    if code := verify.run(checkout(root), steps or [], lock, as_json=as_json, committed=committed, sample=drawn):
        raise typer.Exit(code)


@app.command()
def diff(
    first: Annotated[
        str, typer.Argument(metavar="RUN_A", help="A folder, a step such as stage2, or an MLflow run id.")
    ],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="What it is compared with.")],
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show where two runs of a step part.

    By settings, batch, loss, tensor. Exit code 1: they differ.
    """
    from tinygptv.provenance import diff

    if not diff.run(checkout(root), first, second, profile):
        raise typer.Exit(1)


@app.command()
def replay(
    stage: Annotated[str, typer.Argument(help="stage1 to stage4.")],
    step: Annotated[int, typer.Option("--step", help="The optimizer step, counted from 1 as in the loss curve.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files (default: .state/<profile>/replay).", **PATH)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON instead of a summary.")] = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Draw the exact batch of a training step.

    As a picture and as JSON. Exit code 1: the stage saw another one.
    """
    from tinygptv.provenance import replay

    if not replay.run(checkout(root), profile, stage, step, out, as_json=as_json):
        raise typer.Exit(1)


own_data.add_to(app)
data.add_to(app)
evaluate.add_to(app)
score.add_to(app)
weights.add_to(app)
reproduce.add_to(app)
timeline.add_to(app)
services.add_to(app)
promotion.add_to(app)
serving.add_to(app)
team.add_to(app)


parser_of = cache(get_command)
"""What reads the command lines of ``app``. To make it takes longer than most wrong lines do."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; what a user can mend becomes one line instead of a traceback."""
    begin()
    try:
        # not `app` itself, which puts a hook for tracebacks in the place of ours (startup.py)
        code = parser_of(app)(args=arguments, prog_name="tinygptv", standalone_mode=False)
    except typer.TyperException as error:
        complain("tinygptv", usage(error))
        return EXIT_USER_ERROR
    except UserError as error:
        complain("tinygptv", error)
        return error.exit_code
    except OSError as problem:
        told = from_write_error(problem, "reading or writing files")
        complain("tinygptv", told)
        return told.exit_code
    except SystemExit as end:  # how typer ends where nobody reads the output
        return end.code if isinstance(end.code, int) else 0
    return code if isinstance(code, int) else 0


def usage(error: typer.TyperException) -> str:
    """What is wrong with a command line, and where the right one is explained."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tinygptv"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _default_model(given: str | None) -> Path:
    root = checkout(None)
    profile = profile_name(root, given)
    places = [folder / PACKAGE_FOLDER for folder in output_folders(root, profile, "quantize")]
    found = next((folder for folder in places if folder.is_dir()), None)
    if found is None:
        raise UserError(f"{places[0]} does not exist; run {how_to_make(root, profile)}, or name a model with --model")
    return found


if __name__ == "__main__":
    sys.exit(main())
