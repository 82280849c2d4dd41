"""An imported model on disk: a Hugging Face folder that anyone can open, and what it takes to undo the import.

  model.safetensors, config.json, tokenizer, …   a standard folder, adapters merged
  authors.safetensors   the matrices before the merge and the adapters (``unmerged/…``, our names), and what the
                        checkpoint replaced or the model holds in another format (``phi/…``, the authors' names)
  report.json           the account of all tensors

A merge cannot be undone from its result, so that the matrices before it are kept (1.7 GB in the paper's sizes).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config.training import one_place
from tinygptv.ground import digests
from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.file_names import GENERATION_CONFIG
from tinygptv.ground.files import read_json, replace_folder, write_json
from tinygptv.ground.runtime import quiet_libraries
from tinygptv.model.authors.building import Origin, build, get_origin, own_state, set_origin
from tinygptv.model.authors.exporter import MAX_NEW_TOKENS, export_authors, export_folder
from tinygptv.model.authors.importer import PROMPT, import_authors
from tinygptv.model.authors.report import REPORT, ImportReport
from tinygptv.model.authors.trained import lora_settings
from tinygptv.model.authors.unmerged import AUTHORS, UNMERGED, open_unmerged, refuse_8bit
from tinygptv.model.folders import longest_answer
from tinygptv.model.int8 import quantize_folder
from tinygptv.model.package import check_files, readable
from tinygptv.model.weights import save_weights

if TYPE_CHECKING:
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor

FORMS = ("authors", "folder", "8bit")


def import_folder(
    files: Mapping[str, Path | None],
    out: Path,
    image_size: int,
    heads: Mapping[str, int],
    lora_alpha: int,
    layout: str | None,
    template: str | None,
) -> ImportReport:
    """What ``tinygptv import-checkpoint`` does: ``import_authors``, and the result on disk.

    Raises:
        CheckpointError: as ``import_authors``; the folder exists; or the template has no place for an instruction.
    """
    quiet_libraries()
    refuse_existing(out)  # before minutes of work
    if template is not None and not one_place(template):
        raise CheckpointError(f"the template {template!r} needs {{}} exactly once, or must be empty")
    prompt = PROMPT if template is None else PROMPT.model_copy(update={"template": template})
    sources = {part: path for part, path in files.items() if path is not None}
    model, processor, report = import_authors(
        **sources, image_size=image_size, heads=heads, lora_alpha=lora_alpha, layout=layout, prompt=prompt
    )
    save_import(model, processor, out)
    return report


def save_import(model: TinyGPTVForConditionalGeneration, processor: TinyGPTVProcessor, folder: Path) -> None:
    """Write an imported model so that ``open_import`` gives it back, bit for bit.

    Raises:
        CheckpointError: the folder exists.
    """
    origin = get_origin(model)
    assert origin is not None, "the model was not imported"
    state = own_state(model)
    adapted = {name.partition(".lora_A.")[0] for name in state if ".lora_A." in name}
    before = [name for name in state if ".lora_" in name or name.removesuffix(".weight") in adapted]
    with whole_or_absent(folder) as staged, digests.sealed(staged):
        export_folder(model, processor, staged)
        save_weights(staged / AUTHORS, {f"{UNMERGED}{name}": state[name] for name in before} | origin.kept)
        write_json(staged / REPORT, origin.report.as_json())


def open_import(folder: Path) -> tuple[TinyGPTVForConditionalGeneration, TinyGPTVProcessor]:
    """A folder's model with adapters apart again; a folder that was not imported opens as it is.

    Raises:
        CheckpointError: the folder is incomplete, damaged or in 8 bits.
    """
    from tinygptv.model import TinyGPTVConfig, TinyGPTVProcessor

    check_whole(folder)
    with readable(folder):
        config, processor = TinyGPTVConfig.from_pretrained(folder), TinyGPTVProcessor.from_pretrained(folder)
    found = open_unmerged(folder)
    lora = None
    if found.report is not None and found.report.lora is not None:
        lora = lora_settings(str(folder / AUTHORS), found.tensors, found.report.lora["alpha"])
    model = build(str(folder), config, found.tensors, lora)
    if found.report is not None:
        set_origin(model, Origin(found.report, found.kept))
    return model, processor


def export(source: Path, folder: Path, form: str, outlier_threshold: float) -> None:
    """Write a folder's model in the authors' form, as a standard Hugging Face folder, or as one in 8 bits.

    Args:
        source: an imported model, or any whole one.
        folder: where to write.
        form: one of ``FORMS``.
        outlier_threshold: of ``8bit``: activations above it are multiplied in 16 bits.

    Raises:
        CheckpointError: the source cannot be opened, the target exists, or the form does not fit the model.
    """
    from tinygptv.model import TinyGPTVConfig, TinyGPTVProcessor

    quiet_libraries()
    refuse_existing(folder)
    if form not in FORMS:
        raise CheckpointError(f"form {form!r} is none of {', '.join(FORMS)}")
    if form == "8bit":
        check_whole(source)
        with readable(source):
            processor = TinyGPTVProcessor.from_pretrained(source)
            positions = TinyGPTVConfig.from_pretrained(source).text_config.max_position_embeddings
        limit = longest_answer(processor, positions, answer_limit(source))
        with whole_or_absent(folder) as staged:
            # The folder's own weights have their adapters merged, in float32.
            quantize_folder(source, staged, outlier_threshold=outlier_threshold, max_new_tokens=limit)
        return
    model, processor = open_import(source)
    with whole_or_absent(folder) as staged:
        if form == "authors":
            with digests.sealed(staged):
                export_authors(model, staged)
        else:
            export_folder(model, processor, staged, answer_limit(source))


def answer_limit(folder: Path) -> int:
    """The longest answer that a folder's own settings name.

    Raises:
        CheckpointError: they are no settings.
        DataError: they are no JSON.
    """
    path = folder / GENERATION_CONFIG
    content = read_json(path) if path.is_file() else {}
    limit = content.get("max_new_tokens", MAX_NEW_TOKENS) if isinstance(content, dict) else None
    if not isinstance(limit, int) or limit < 1:
        raise CheckpointError(f"{path} names no number of tokens as max_new_tokens; mend it, or remove the file")
    return limit


def check_whole(folder: Path) -> None:
    """A folder to export from has all files, as they were written, and its weights unquantized.

    Raises:
        CheckpointError: it is incomplete or in 8 bits.
        DataError: a file is damaged.
    """
    check_files(folder)
    refuse_8bit(folder)


def refuse_existing(folder: Path) -> None:
    """Nothing is overwritten.

    Raises:
        CheckpointError: the folder exists.
    """
    if folder.exists():
        raise CheckpointError(f"{folder} exists; name a new folder, or remove it")


@contextmanager
def whole_or_absent(folder: Path) -> Iterator[Path]:
    """A folder to fill beside the final one, which it becomes at the end of the block.

    Raises:
        CheckpointError: the final one exists.
    """
    refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield staged
        staged.chmod(0o755)  # mkdtemp makes it private
        replace_folder(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
