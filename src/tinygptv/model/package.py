"""Opening a model's folder: whole, as it was written, of one piece, and able to answer, before anybody asks it.

transformers opens much of what is damaged: it fills in tensors that are missing and settings that are gone.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground import digests, runtime
from tinygptv.ground.errors import CheckpointError, UserError, brief, true_cause
from tinygptv.ground.file_names import (
    GENERATION_CONFIG,
    LANGUAGE_MODEL,
    MODEL_CONFIG,
    PROCESSOR_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TRAINED,
    WEIGHTS,
)
from tinygptv.ground.files import read_json
from tinygptv.model.backbones import check_fit
from tinygptv.model.language import check_known

if TYPE_CHECKING:
    import torch

    from tinygptv.model import TinyGPTVConfig
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor

NEEDED = (
    MODEL_CONFIG,
    WEIGHTS,
    PROCESSOR_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    GENERATION_CONFIG,
)
OTHERS = {
    "phi.safetensors": "it is in the authors' form, which `tinygptv import-checkpoint` opens",
    TRAINED: "it is a stage's checkpoint, of which the step quantize makes a model",
    LANGUAGE_MODEL: "it holds backbones, of which training makes a model",
}
"""A file by which another kind of folder is known, and what to do with it."""
DEFAULT_NEW_TOKENS = 20
"""What transformers takes where a model's generation configuration names no number."""
AGAIN = "fetch or make the folder again"


def open_folder(folder: Path, device: torch.device) -> tuple[TinyGPTVForConditionalGeneration, TinyGPTVProcessor]:
    """Open a Hugging Face folder, quantized or not.

    Raises:
        CheckpointError: a file is missing, damaged, or of another model than the others.
        DataError: a file is not the one that was written.
    """
    from tinygptv.model import TinyGPTVConfig, TinyGPTVForConditionalGeneration, TinyGPTVProcessor
    from tinygptv.model.vision import compile_blocks

    runtime.quiet_libraries()
    check_files(folder)
    with readable(folder):
        processor = TinyGPTVProcessor.from_pretrained(folder)
        prompt = check_processor(folder, processor)
        check_tensors(folder / WEIGHTS, TinyGPTVConfig.from_pretrained(folder))
        model = TinyGPTVForConditionalGeneration.from_pretrained(folder, device_map={"": device})
    on_gpu = device.type == "cuda"
    if getattr(model.config, "quantization_config", None):
        from tinygptv.model.frozen8bit import take_over

        take_over(model, weight_only=on_gpu)
    if on_gpu:
        compile_blocks(model.image_encoder)
    check_together(folder, model, processor, prompt)
    return model, processor


def check_files(folder: Path) -> None:
    """A model has all of its files, as they were written, and its settings are of this architecture.

    transformers puts full-size defaults in the place of settings that are not there.

    Raises:
        CheckpointError: a file is missing, or is of something else.
        DataError: a file is not the one that was written, or no JSON.
    """
    for name in NEEDED:
        if not (folder / name).is_file():
            kind = next(
                (kind for sign, kind in OTHERS.items() if (folder / sign).is_file()), "run `dvc repro quantize`"
            )
            raise CheckpointError(f"{folder} is no complete model: {name} is missing; {kind}")
    if not digests.check(folder):
        told = f"{folder} has no {digests.LIST}: whether its files are as they were written cannot be checked"
        print(told, file=sys.stderr)
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        if not isinstance(content, dict) or not content:
            raise CheckpointError(f"{path} holds no settings; {AGAIN}")
        if path.name == MODEL_CONFIG and content.get("model_type") != "tinygptv":
            raise CheckpointError(f"{path} is not of a TinyGPT-V: its model_type is {content.get('model_type')!r}")
        text = content.get("text_config") if path.name == MODEL_CONFIG else None
        if isinstance(text, dict) and "model_type" in text:
            check_known(text["model_type"], str(path))


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Around transformers' and tokenizers' reading: turns their many errors into one, and their reports into none.

    Raises:
        CheckpointError: a file of the folder cannot be used.
    """
    import torch

    libraries = logging.getLogger("transformers")
    level = libraries.level
    libraries.setLevel(logging.ERROR)
    try:
        yield
    except (UserError, ImportError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        damaged = CheckpointError(f"{folder} is damaged: {brief(error)}; {AGAIN}")
        raise true_cause(error, f"opening {folder}") or damaged from error
    finally:
        libraries.setLevel(level)


def check_processor(folder: Path, processor: TinyGPTVProcessor) -> list[int]:
    """A question can be put into tokens, and an answer has an end.

    Returns:
        The tokens of a prompt without words.

    Raises:
        CheckpointError: the template or the tokenizer lacks something.
    """
    tokenizer = processor.tokenizer
    lacking = [name for name in ("bos_token", "eos_token", "pad_token") if getattr(tokenizer, name) is None]
    if lacking:
        raise CheckpointError(f"{folder / TOKENIZER_CONFIG} names no {', '.join(lacking)}; {AGAIN}")
    if not processor.chat_template:
        raise CheckpointError(f"{folder} has no chat template (chat_template.jinja): no question can be put; {AGAIN}")
    prompt = processor.encode_prompt(processor.prompt_of(""))
    if prompt.count(processor.image_token_id) != processor.num_query_tokens:
        raise CheckpointError(f"the chat template of {folder} does not give an image its place; {AGAIN}")
    return prompt


def check_tensors(weights: Path, config: TinyGPTVConfig) -> None:
    """The file has the tensors of the configuration's model, those and no others.

    Raises:
        CheckpointError: lists those that are missing, unknown or of another shape.
    """
    import torch
    from safetensors import safe_open

    from tinygptv.model import TinyGPTVForConditionalGeneration

    with torch.device("meta"):
        expected = TinyGPTVForConditionalGeneration(config).state_dict()
        found = {}
        with safe_open(weights, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                part = file.get_slice(name)
                found[name] = torch.empty(part.get_shape())
                if part.get_dtype() == "I8" and getattr(config, "quantization_config", None):
                    matrix = name.removesuffix(".weight")
                    expected |= {
                        f"{matrix}.SCB": torch.empty(found[name].shape[0]),
                        f"{matrix}.weight_format": torch.empty(()),
                    }
    check_fit(expected, found, str(weights), AGAIN)


def check_together(
    folder: Path, model: TinyGPTVForConditionalGeneration, processor: TinyGPTVProcessor, prompt: list[int]
) -> None:
    """Processor and weights are of one model, and an answer has room.

    Raises:
        CheckpointError: they are not, or it has not.
    """
    from tinygptv.model.processing import check_vocabulary

    config = model.config
    check_vocabulary(processor.tokenizer, config.text_config.vocab_size)
    for name in ("image_token_id", "num_query_tokens"):
        if getattr(processor, name) != getattr(config, name):
            raise CheckpointError(
                f"{folder}: {name} is {getattr(processor, name)!r} in processor_config.json and "
                f"{getattr(config, name)!r} in config.json; {AGAIN}"
            )
    limit, positions = new_tokens(model), config.text_config.max_position_embeddings
    if limit < 1 or len(prompt) + limit > positions:
        raise CheckpointError(
            f"{folder / GENERATION_CONFIG}: answers of {limit} tokens have no room in the model's {positions} "
            "positions; export it again, which sets max_new_tokens right"
        )


def new_tokens(model: TinyGPTVForConditionalGeneration) -> int:
    """Tokens of an answer at most, as the model's generation configuration says."""
    configured = model.generation_config
    return int((configured.max_new_tokens if configured is not None else None) or DEFAULT_NEW_TOKENS)
