"""``import-checkpoint``, ``export-checkpoint`` and ``import-stage``: weights of others, in and out.

What can be seen of the arguments is looked at here: below ``tinygptv.model`` torch is imported first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinygptv.commands.options import (
    PATH,
    ProfileOption,
    RootOption,
    checkout,
    finite,
    one_of,
    require_folder,
    require_new,
)
from tinygptv.ground.errors import UserError
from tinygptv.ground.file_names import TRAINED
from tinygptv.ground.folders import data_folder


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("import-checkpoint")(import_checkpoint)
    app.command("export-checkpoint")(export_checkpoint)
    app.command("import-stage")(import_stage)


def template_of(text: str | None) -> str | None:
    """A prompt's template."""
    from tinygptv.config.training import one_place

    if text is not None and not one_place(text):
        raise typer.BadParameter(f"{text!r} needs {{}} exactly once, or must be empty")
    return text


def import_checkpoint(
    out: Annotated[Path, typer.Argument(help="The folder to make.", **PATH)],
    phi: Annotated[
        Path, typer.Option(help="Phi-2: the authors', Microsoft's or Hugging Face's file or folder.", **PATH)
    ],
    vision: Annotated[Path, typer.Option(help="EVA-CLIP (eva_vit_g.pth), or a folder of BLIP-2.", **PATH)],
    qformer: Annotated[
        Path, typer.Option(help="BLIP-2 (blip2_pretrained_flant5xxl.pth), or a folder of BLIP-2.", **PATH)
    ],
    tokenizer: Annotated[Path, typer.Option(help="A folder with Phi-2's tokenizer.json.", **PATH)],
    image_size: Annotated[int, typer.Option(min=1, help="Pixels of a side: 448 in stage 4, 224 before.")],
    text_heads: Annotated[int, typer.Option(min=1, help="Attention heads of the language model: 32 in Phi-2.")],
    vision_heads: Annotated[int, typer.Option(min=1, help="Attention heads of the tower: 16 in ViT-g.")],
    qformer_heads: Annotated[int, typer.Option(min=1, help="Attention heads of the Q-Former: 12 in BLIP-2.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="What the authors trained; without it, base weights.", **PATH)
    ] = None,
    lora_alpha: Annotated[int, typer.Option(min=1, help="Scale of the adapters times their rank.")] = 16,
    layout: Annotated[
        str | None,
        typer.Option(
            callback=one_of("interleaved", "thirds", "separate"),
            help="interleaved or thirds, where names do not tell it.",
        ),
    ] = None,
    template: Annotated[
        str | None, typer.Option(callback=template_of, help="Prompt with {} for the instruction; see the docs.")
    ] = None,
) -> None:
    """Make a Hugging Face folder of the authors' weights.

    With an account of every tensor.
    """
    require_new(out)
    require_folder(tokenizer, "the folder with Phi-2's tokenizer.json")
    files = {"phi": phi, "vision": vision, "qformer": qformer, "checkpoint": checkpoint, "tokenizer": tokenizer}
    for name, path in files.items():
        if path is not None and not path.exists():
            raise UserError(f"--{name} {path} does not exist; name its file or folder (docs/checkpoints.md)")
    from tinygptv.model.authors.folder import import_folder

    heads = {"text": text_heads, "vision": vision_heads, "qformer": qformer_heads}
    print(import_folder(files, out, image_size, heads, lora_alpha, layout, template))


def export_checkpoint(
    folder: Annotated[Path, typer.Argument(help="A folder of import-checkpoint, or of a model.", **PATH)],
    out: Annotated[Path | None, typer.Argument(help="The folder to make, of a model not in 8 bits.", **PATH)] = None,
    form: Annotated[
        str | None,
        typer.Option(
            callback=one_of("authors", "folder", "8bit"),
            help="authors: their files and names; folder: Hugging Face's form; 8bit.",
        ),
    ] = None,
    outlier_threshold: Annotated[
        float, typer.Option(min=0.0, callback=finite, help="Of 8bit; 6 as published, 0: no outliers.")
    ] = 6.0,
    push: Annotated[
        str | None,
        typer.Option(help="Put the model there: hf://OWNER/NAME, remote://REMOTE/PATH or s3://BUCKET/PATH."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Of --push: in the place of another model.")] = False,
    root: RootOption = None,
) -> None:
    """Write a model as its authors do or in 8 bits; share it.

    With the authors' names, bit for bit; as a standard Hugging Face folder; or in 8 bits. --push puts a model that has
    its card, such as data/PROFILE/quantize/model, where others load it from.
    """
    require_folder(folder, "a folder of import-checkpoint, or of a model")
    if root is not None:
        checkout(root)
    if push is not None:
        if out is not None or form is not None:
            raise UserError("--push puts a folder there as it is; leave OUT and --form out")
        share(folder, push, root, replace=replace)
        return
    if replace:
        raise UserError("--replace belongs to --push; add that, or leave it out")
    if out is None or form is None:
        raise UserError("name the folder to make and its --form (authors, folder, 8bit), or an address to --push to")
    require_new(out)
    from tinygptv.model.authors.folder import export

    export(folder, out, form, outlier_threshold)


def share(folder: Path, push: str, root: Path | None, *, replace: bool) -> None:
    """What ``export-checkpoint --push`` does."""
    from tinygptv.evaluation.package_card import CARD, check_licences
    from tinygptv.remotes.push import push as send
    from tinygptv.remotes.push import target_of

    target = target_of(push)
    check_licences(folder / CARD, folder)
    from tinygptv.model.package import check_files

    check_files(folder)
    print(send(folder, target, None if target.scheme == "hf" else checkout(root), replace=replace))


def import_stage(
    folder: Annotated[Path, typer.Argument(help="A folder of import-checkpoint, or a stage's output.", **PATH)],
    stage: Annotated[str, typer.Argument(help="The stage that it has behind it: stage1 to stage4.")],
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Make weights trained elsewhere a stage of the profile.

    They become its backbones and the stage's checkpoint, so that the next stage goes on from there.
    """
    from tinygptv.config.profiles import read_profile
    from tinygptv.ground.names import require_stage

    require_stage(stage)
    home = checkout(root)
    chosen = read_profile(home, profile)
    require_folder(folder, "a folder of import-checkpoint, or a stage's output")
    from tinygptv.model.authors.stage import export_stage
    from tinygptv.model.stage_copy import copy_stage

    make = copy_stage if (folder / TRAINED).is_file() else export_stage
    make(folder, data_folder(home, chosen.name), stage, chosen)
