"""The authors' four files as one model: base weights in three, and a checkpoint of what they trained.

As in their loader, the checkpoint's values count where a base file has the same tensor. Unlike there, every tensor is
accounted for: theirs allows gaps, so that a base of another layout goes by without a word.

Source: the authors' ``minigpt_v2.py`` (from_config), ``eval_utils.py`` (the template).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tinygptv.config import Prompt
from tinygptv.ground.errors import CheckpointError
from tinygptv.model.authors import names, sizes
from tinygptv.model.authors.accounts import refuse
from tinygptv.model.authors.building import Origin, build, set_origin
from tinygptv.model.authors.convert import Converted, convert_image_encoder, convert_language_model
from tinygptv.model.authors.exporter import place_of
from tinygptv.model.authors.foreign import ForeignTensors, open_tensors
from tinygptv.model.authors.report import ImportReport
from tinygptv.model.authors.trained import Trained, read_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tinygptv.model.configuration import TinyGPTVConfig
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor

PROMPT = Prompt(
    template="###Human: {} ###Assistant: ",
    end_mark="###",
    bos_in_training=True,
    bos_at_inference=False,
    bos_between_turns=True,
)
"""Of the authors' benchmark code; for later turns, which that has not, of their training. Which template the published
stage 4 was trained with is not known for certain."""
PARTS = ("text", "vision", "qformer")
PROJECTION_SIZE = 4096
"""Width between the projections, where no checkpoint tells it. Source: ``minigpt_v2.py``."""


def import_authors(
    *,
    phi: str | Path,
    vision: str | Path,
    qformer: str | Path,
    checkpoint: str | Path | None = None,
    tokenizer: str | Path,
    image_size: int,
    heads: Mapping[str, int],
    lora_alpha: float = 16,
    layout: str | None = None,
    prompt: Prompt | None = None,
) -> tuple[TinyGPTVForConditionalGeneration, TinyGPTVProcessor, ImportReport]:
    """Build the model of the authors' files, or of Microsoft's and Hugging Face's in their place.

    Matrices keep the format of their file (float16 for Phi-2 as published), all else is float32; a model of two
    formats runs under ``tinygptv.ground.runtime.autocast(model)``. Weights stay memory-mapped.

    Args:
        phi: the language model: the authors', Microsoft's or transformers' file, or a Hugging Face folder.
        vision: EVA-CLIP's ViT-g as the authors use it, or a BLIP-2 folder.
        qformer: LAVIS' BLIP-2 file, or a BLIP-2 folder, which may be the same.
        checkpoint: what the authors trained; None for the base weights and projections at random.
        tokenizer: a folder with Phi-2's ``tokenizer.json``.
        image_size: pixels of a side at which images are shown (224, or 448 in stage 4).
        heads: attention heads of ``text``, ``vision`` and ``qformer`` (32, 16 and 12 in the paper).
        lora_alpha: scale of the adapters times their rank.
        layout: of a fused matrix of queries, keys and values, where names do not tell it.
        prompt: None for the template of the authors' benchmark code.

    Returns:
        The model in evaluation mode, with the checkpoint's adapters in place; its processor; the account of all
        tensors.

    Raises:
        CheckpointError: a file is missing, damaged or holds more than tensors; tensors are missing, unknown or of
            another shape; the layout cannot be told; tokenizer, heads or image size do not fit.
    """
    from tinygptv.model.processing import build_processor

    if set(heads) != set(PARTS):
        raise CheckpointError(f"heads must name {', '.join(PARTS)}, not {', '.join(map(str, heads))}")
    words = load_tokenizer(Path(tokenizer))
    sources = {"phi": open_tensors(phi), "vision": open_tensors(vision), "qformer": open_tensors(qformer)}
    language = convert_language_model(sources["phi"], heads["text"], layout)
    encoder = convert_image_encoder(sources["vision"], sources["qformer"])
    base = {f"language_model.{name}": tensor for name, tensor in language.tensors.items()}
    base |= {f"image_encoder.{name}": tensor for name, tensor in encoder.tensors.items()}
    fresh = [f"language_model.{name}" for name in language.fresh]
    trained = Trained({}, {}, {}, None)
    if checkpoint is not None:
        sources["checkpoint"] = open_tensors(checkpoint)
        trained = read_checkpoint(sources["checkpoint"], base, lora_alpha)
    extras = account_for_extras(sources)

    config = configuration(sources, language, encoder, heads, trained, words.eos_token_id)
    check_image_size(image_size, config.vision_config.patch_size)
    tensors = base | trained.tensors
    if checkpoint is None:
        projections = fresh_projections(config)
        tensors, fresh = tensors | projections, fresh + list(projections)
    model = build(str(checkpoint or phi), config, tensors, trained.lora, trained.theirs)
    processor = build_processor(
        words,
        prompt or PROMPT,
        image_size=image_size,
        num_query_tokens=config.num_query_tokens,
        vocab_size=config.text_config.vocab_size,
    )
    replaced = [name for name in trained.tensors if name in base and name not in fresh]
    report = ImportReport(
        files={part: str(source.path) for part, source in sources.items()},
        layout=language.layout,
        sizes=sizes.summary(config),
        lora=None if trained.lora is None else {"rank": trained.lora.rank, "alpha": trained.lora.alpha},
        mapped={theirs: f"language_model.{ours}" for theirs, ours in language.mapped.items()}
        | {theirs: f"image_encoder.{ours}" for theirs, ours in encoder.mapped.items()}
        | trained.mapped,
        replaced=["/".join(place_of(name)) for name in replaced],
        ignored=language.ignored | encoder.ignored | trained.ignored | extras,
        fresh=[name for name in fresh if name not in trained.tensors],
    )
    set_origin(model, Origin(report, keep(sources, base, replaced, model)))
    return model, processor, report


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Phi-2's tokenizer; padding and BOS are its ``<|endoftext|>``, as in the authors' ``base_model.py``.

    Raises:
        CheckpointError: the folder has none, or it knows no end of text.
    """
    from tinygptv.model.processing import read_tokenizer

    tokenizer = read_tokenizer(folder)
    if tokenizer.eos_token is None:
        raise CheckpointError(f"{folder} names no eos_token (tokenizer_config.json); take the folder of Phi-2")
    for name in ("bos_token", "pad_token"):
        if getattr(tokenizer, name) is None:
            setattr(tokenizer, name, tokenizer.eos_token)
    tokenizer.clean_up_tokenization_spaces = False  # Phi-2's file asks for it; for a byte-level BPE it is damage
    return tokenizer


def account_for_extras(sources: Mapping[str, ForeignTensors]) -> dict[str, str]:
    """What the pickles hold beside their tensors, with the reason why it is left out.

    Raises:
        CheckpointError: something is not of the authors' runner.
    """
    reasons: dict[str, str] = {}
    for part, source in sources.items():
        refuse(str(source.path), unknown=[name for name in source.others if name not in names.EXTRAS])
        reasons |= {f"{part}/{name}": names.EXTRAS[name] for name in source.others}
    return reasons


def configuration(
    sources: Mapping[str, ForeignTensors],
    language: Converted,
    encoder: Converted,
    heads: Mapping[str, int],
    trained: Trained,
    end_of_text_id: int,
) -> TinyGPTVConfig:
    """The model's configuration from its tensors.

    Raises:
        CheckpointError: heads do not divide a width, or the language model is not Phi-2.
    """
    from tinygptv.model.configuration import TinyGPTVConfig

    phi, vision, qformer = (str(sources[part].path) for part in ("phi", "vision", "qformer"))
    text = sizes.text_config(phi, language.tensors, heads["text"], end_of_text_id)
    sizes.check_rotary(phi, text)
    between = trained.tensors.get("projector.linear_1.bias")
    return TinyGPTVConfig(
        vision_config=sizes.vision_config(vision, encoder.tensors, heads["vision"]),
        qformer_config=sizes.qformer_config(qformer, encoder.tensors, heads["qformer"]),
        text_config=text,
        num_query_tokens=encoder.tensors["query_tokens"].shape[1],
        projection_size=PROJECTION_SIZE if between is None else len(between),
    )


def check_image_size(image_size: int, patch_size: int) -> None:
    """Images are cut into whole patches.

    Raises:
        CheckpointError: they cannot be.
    """
    if image_size < patch_size or image_size % patch_size:
        raise CheckpointError(f"image_size {image_size} is no multiple of the tower's patches of {patch_size} pixels")


def fresh_projections(config: TinyGPTVConfig) -> dict[str, torch.Tensor]:
    """Projections at random (torch's default, from the global seed), as the authors' stage 1 begins."""
    from tinygptv.model.modeling import TinyGPTVProjector

    return {f"projector.{name}": tensor for name, tensor in TinyGPTVProjector(config).state_dict().items()}


def keep(
    sources: Mapping[str, ForeignTensors],
    base: Mapping[str, torch.Tensor],
    replaced: list[str],
    model: TinyGPTVForConditionalGeneration,
) -> dict[str, torch.Tensor]:
    """What the files hold and the model does not, bit for bit, by file and the authors' name."""
    from tinygptv.model.authors.building import own_state

    state = own_state(model)
    kept = {"/".join(place_of(name)): base[name] for name in replaced}
    for name, tensor in base.items():
        if tensor.dtype != state[name].dtype:
            kept["/".join(place_of(name))] = tensor
    for part, source in sources.items():
        if names.POSITION_IDS in source:
            kept[f"{part}/{names.POSITION_IDS}"] = source[names.POSITION_IDS]
    return kept
