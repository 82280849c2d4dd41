"""LLM.int8() of the language model, as a Hugging Face folder that reloads bit for bit.

Image encoder, projection, embeddings and head stay as they are: 8 bits hold the matrices of the blocks.
Source: bitsandbytes' ``Linear8bitLt`` through transformers' quantization configuration.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.runtime import quiet_libraries
from tinygptv.model.adapters import has_lora
from tinygptv.model.folders import write_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

    from tinygptv.model.inference import VisionLanguageModel


def skipped(text_config: PreTrainedConfig) -> list[str]:
    """Parts of the model, and of this language model, that stay as they are."""
    from tinygptv.model.language import architecture_of

    return ["image_encoder", "projector", architecture_of(text_config).head]


def quantize_base(
    language_model: PreTrainedModel, *, outlier_threshold: float, device: torch.device | None = None
) -> None:
    """Put the frozen matrices of the blocks into 8 bits, in place; adapters on them stay as they are and train.

    Embeddings, head and norms keep their format and place. Source: QLoRA's idea (arXiv 2305.14314) with LLM.int8().

    Args:
        language_model: with or without adapters.
        outlier_threshold: as in ``save_quantized``.
        device: where the matrices will be, which quantizes them one by one: it never holds them all in 16 bits; None:
            where they are.
    """
    import torch
    from torch import nn

    quiet_libraries()
    from bitsandbytes.functional import int8_vectorwise_quant

    from tinygptv.model.frozen8bit import FrozenLinear8bit
    from tinygptv.model.language import architecture_of

    blocks = architecture_of(language_model.config).blocks_of(language_model)
    names = [name for name, part in blocks.named_modules() if type(part) is nn.Linear and ".lora_" not in name]
    for name in names:
        linear = blocks.get_submodule(name)
        assert isinstance(linear, nn.Linear) and not linear.weight.requires_grad, f"{name} trains"
        matrix_NK, scales_N, _ = int8_vectorwise_quant(linear.weight.data.contiguous().to(device, torch.float16))
        small = FrozenLinear8bit(matrix_NK, scales_N, linear.bias, threshold=outlier_threshold)
        blocks.set_submodule(name, small.train(linear.training))


def save_quantized(model: VisionLanguageModel, folder: Path, *, outlier_threshold: float, max_new_tokens: int) -> int:
    """Write a model in 8 bits with processor, chat template and generation configuration.

    Args:
        model: with its adapters merged.
        folder: where to write.
        outlier_threshold: activations above it are multiplied in 16 bits (6 in the paper of LLM.int8(), 0: none).
        max_new_tokens: of the generation configuration.

    Returns:
        Bytes of the unquantized weights.
    """
    assert not has_lora(model.model), "merge the adapters in full precision first"
    with tempfile.TemporaryDirectory(dir=folder.parent) as whole:
        model.model.save_pretrained(whole)
        model.processor.save_pretrained(whole)
        size = sum(path.stat().st_size for path in Path(whole).glob("*.safetensors"))
        quantize_folder(Path(whole), folder, outlier_threshold=outlier_threshold, max_new_tokens=max_new_tokens)
    return size


def quantize_folder(source: Path, folder: Path, *, outlier_threshold: float, max_new_tokens: int) -> None:
    """Open a Hugging Face folder, quantizing matrix by matrix while loading, and write it in 8 bits.

    What stays unquantized keeps its format: that of the folder, float32 for queries and Q-Former.

    Args:
        source: a whole model with its processor.
        folder: where to write.
        outlier_threshold: as in ``save_quantized``.
        max_new_tokens: of the generation configuration.
    """
    from transformers import BitsAndBytesConfig

    from tinygptv.model.configuration import TinyGPTVConfig
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor

    quiet_libraries()
    text_config = TinyGPTVConfig.from_pretrained(source).text_config
    settings = BitsAndBytesConfig(
        load_in_8bit=True, llm_int8_threshold=outlier_threshold, llm_int8_skip_modules=skipped(text_config)
    )
    quantized = TinyGPTVForConditionalGeneration.from_pretrained(
        source, dtype="auto", quantization_config=settings, device_map={"": "cpu"}
    )
    write_folder(quantized, TinyGPTVProcessor.from_pretrained(source), folder, max_new_tokens=max_new_tokens)
