"""The command ``tinygptv``. Thin: what a command needs is imported when it runs, so that ``--help`` is quick.

Exit codes: 0 done, 1 a bug, a model that computes no numbers, a problem (``doctor``), a broken link (``lineage``), a
difference (``verify``, ``diff``) or too small a device (``plan``), 2 something the user can mend (one line), 75 a fault
that may pass by itself (one line), 130 Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tinygptv.commands import promotion, services, serving, team
from tinygptv.commands.options import ProfileOption, RootOption, checkout, profile_name
from tinygptv.errors import UserError, complain, from_write_error
from tinygptv.startup import begin

app = typer.Typer(
    help="TinyGPT-V: ask the trained model, read its results, check the machine, plan, exchange weights.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
    from tinygptv.data.tasks import check_question

    check_question(question)
    source = model if model is not None else str(_default_model())
    import tinygptv

    print(tinygptv.load(source, device).answer([image], [question])[0])


@app.command()
def results(root: RootOption = None, profile: ProfileOption = None) -> None:
    """Show the accuracies of the last evaluation beside their baselines."""
    from tinygptv.results import results_table

    folder = checkout(root)
    print(results_table(folder, profile_name(folder, profile)))


@app.command()
def doctor(
    root: RootOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read DVC's whole cache and every output.")] = False,
    manifest: Annotated[
        Path | None, typer.Option(help="Only compare the environment with the one this manifest.json records.")
    ] = None,
) -> None:
    """Check versions, machine and checkout, and say what to do about each problem."""
    from tinygptv.doctor import examine, has_problem, report

    checks = examine(checkout(root), deep=deep, manifest=manifest)
    print(report(checks))
    if has_problem(checks):
        raise typer.Exit(1)


@app.command()
def plan(
    root: RootOption = None,
    profile: ProfileOption = None,
    gpu: Annotated[
        float | None, typer.Option(min=0.1, help="GB of a GPU's memory (default: the device that training would use).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON, in bytes.")] = False,
) -> None:
    """Show the memory, disk and time that each stage needs. Exit code 1: a stage does not fit."""
    import json

    from tinygptv.planning import plan, table
    from tinygptv.profiles import read_profile

    chosen = read_profile(checkout(root), profile)
    made = plan.make_plan(chosen.config, chosen.name, *plan.device_of(gpu, chosen.config.runtime))
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
    """Show what a version, folder, run or DVC md5 was made of, back to the data. Exit code 1: a link is broken."""
    import json

    from tinygptv.tracking import lineage_start, lineage_view

    chain = lineage_start.trace(checkout(root), subject)
    print(json.dumps(chain.as_json(), indent=2, ensure_ascii=False) if as_json else lineage_view.text(chain))
    if chain.broken:
        raise typer.Exit(1)


@app.command("import-checkpoint")
def import_checkpoint(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    phi: Annotated[Path, typer.Option(help="Phi-2: the authors', Microsoft's or Hugging Face's file or folder.")],
    vision: Annotated[Path, typer.Option(help="EVA-CLIP (eva_vit_g.pth), or a folder of BLIP-2.")],
    qformer: Annotated[Path, typer.Option(help="BLIP-2 (blip2_pretrained_flant5xxl.pth), or a folder of BLIP-2.")],
    tokenizer: Annotated[Path, typer.Option(help="A folder with Phi-2's tokenizer.json.")],
    image_size: Annotated[int, typer.Option(help="Pixels of a side: 448 in stage 4, 224 before.")],
    text_heads: Annotated[int, typer.Option(help="Attention heads of the language model: 32 in Phi-2.")],
    vision_heads: Annotated[int, typer.Option(help="Attention heads of the tower: 16 in ViT-g.")],
    qformer_heads: Annotated[int, typer.Option(help="Attention heads of the Q-Former: 12 in BLIP-2.")],
    checkpoint: Annotated[Path | None, typer.Option(help="What the authors trained; without it, base weights.")] = None,
    lora_alpha: Annotated[int, typer.Option(help="Scale of the adapters times their rank.")] = 16,
    layout: Annotated[str | None, typer.Option(help="interleaved or thirds, where names do not tell it.")] = None,
    template: Annotated[str | None, typer.Option(help="Prompt with {} for the instruction; see the docs.")] = None,
) -> None:
    """Make a Hugging Face folder of the authors' weights, with an account of every tensor."""
    from tinygptv.model.authors.folder import import_folder

    files = {"phi": phi, "vision": vision, "qformer": qformer, "checkpoint": checkpoint, "tokenizer": tokenizer}
    heads = {"text": text_heads, "vision": vision_heads, "qformer": qformer_heads}
    print(import_folder(files, out, image_size, heads, lora_alpha, layout, template))


@app.command("export-checkpoint")
def export_checkpoint(
    folder: Annotated[Path, typer.Argument(help="A folder of import-checkpoint, or of a model that is not in 8 bits.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    form: Annotated[str, typer.Option(help="authors: their files and names; folder: Hugging Face's form; 8bit.")],
    outlier_threshold: Annotated[float, typer.Option(min=0.0, help="Of 8bit; 6 as published, 0: no outliers.")] = 6.0,
) -> None:
    """Write a model with the authors' names, bit for bit, as a standard Hugging Face folder, or in 8 bits."""
    from tinygptv.model.authors.folder import export

    export(folder, out, form, outlier_threshold)


@app.command("import-stage")
def import_stage(
    folder: Annotated[Path, typer.Argument(help="A folder of import-checkpoint.")],
    stage: Annotated[str, typer.Argument(help="The stage that it has behind it: stage1 to stage4.")],
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Make imported weights the profile's backbones and the checkpoint of a stage, so that the next one goes on."""
    from tinygptv.config import STAGES
    from tinygptv.model.authors.stage import export_stage
    from tinygptv.profiles import read_profile

    if stage not in STAGES:
        raise UserError(f"stage {stage!r} is none of {', '.join(STAGES)}")
    home = checkout(root)
    chosen = read_profile(home, profile)
    export_stage(folder, home / "data" / chosen.name, stage, chosen)


@app.command()
def verify(
    steps: Annotated[
        list[str] | None, typer.Argument(metavar="[STEP]...", help="Steps (default: all with outputs).")
    ] = None,
    lock: Annotated[Path | None, typer.Option("--from", help="A lock file (default: the checkout's dvc.lock).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON; lines go to stderr.")] = False,
    committed: Annotated[
        bool, typer.Option("--committed", help="Take the last commit, whatever is changed in the checkout.")
    ] = False,
    root: RootOption = None,
) -> None:
    """Run steps again in a scratch worktree and compare every output with the lock. Exit code 1: something differs."""
    from tinygptv.provenance import verify

    if code := verify.run(checkout(root), steps or [], lock, as_json=as_json, committed=committed):
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
    """Show where two runs of a step part: settings, batch, loss, tensor. Exit code 1: they differ."""
    from tinygptv.provenance import diff

    if not diff.run(checkout(root), first, second, profile):
        raise typer.Exit(1)


@app.command()
def replay(
    stage: Annotated[str, typer.Argument(help="stage1 to stage4.")],
    step: Annotated[int, typer.Option("--step", help="The optimizer step, counted from 1 as in the loss curve.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the files (default: .state/<profile>/replay).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON instead of a summary.")] = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Show the exact batch of a training step as a picture and as JSON. Exit code 1: the stage saw another one."""
    from tinygptv.provenance import replay

    if not replay.run(checkout(root), profile, stage, step, out, as_json=as_json):
        raise typer.Exit(1)


services.add_to(app)
promotion.add_to(app)
serving.add_to(app)
team.add_to(app)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; what a user can mend becomes one line instead of a traceback."""
    begin()
    try:
        app(args=arguments, prog_name="tinygptv")
    except UserError as error:
        complain("tinygptv", error)
        return error.exit_code
    except OSError as problem:
        told = from_write_error(problem, "reading or writing files")
        complain("tinygptv", told)
        return told.exit_code
    except SystemExit as end:  # how typer ends, also for its own usage errors
        return end.code if isinstance(end.code, int) else 0
    return 0


def _default_model() -> Path:
    root = checkout(None)
    folder = root / "data" / profile_name(root, None) / "quantize" / "model"
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; run `make demo` first, or name a model with --model")
    return folder


if __name__ == "__main__":
    sys.exit(main())
