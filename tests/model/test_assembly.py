"""Building the model from its backbones, in the number formats of training and inference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear8bitLt
from transformers import AutoModelForImageTextToText

from tinygptv.config import Config
from tinygptv.ground import file_names
from tinygptv.ground.errors import CheckpointError
from tinygptv.model import assembly
from tinygptv.model.adapters import add_lora, freeze
from tinygptv.model.int8 import quantize_folder
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.processing import TinyGPTVProcessor

MakeModel = Callable[..., TinyGPTVForConditionalGeneration]


@pytest.fixture(scope="module")
def half(smoke: Config) -> Config:
    """The smoke profile with its large matrices in bfloat16."""
    return smoke.model_copy(update={"runtime": smoke.runtime.model_copy(update={"dtype": "bfloat16"})})


def test_assembling_takes_the_backbones_as_they_are(backbones: Path, make_model: MakeModel, smoke: Config) -> None:
    model, source = assembly.assemble(smoke, backbones, with_tower=True), make_model(seed=5)
    for part in ("image_encoder", "language_model"):
        for name, tensor in getattr(source, part).state_dict().items():
            assert torch.equal(getattr(model, part).state_dict()[name], tensor), name
    assert model.image_encoder.vision_model.post_layernorm.eps == 1e-5


def test_without_the_tower_the_encoder_takes_no_memory(backbones: Path, smoke: Config) -> None:
    model = assembly.assemble(smoke, backbones, with_tower=False)
    assert {p.device.type for p in model.image_encoder.parameters()} == {"meta"}
    assert {p.device.type for p in model.language_model.parameters()} == {"cpu"}
    assert {p.device.type for p in model.projector.parameters()} == {"cpu"}


def test_training_has_large_matrices_in_bfloat16_and_the_rest_in_float32(backbones: Path, half: Config) -> None:
    model = assembly.assemble(half, backbones, with_tower=False)
    formats: dict[torch.dtype, set[str]] = {}
    for name, parameter in model.language_model.named_parameters():
        formats.setdefault(parameter.dtype, set()).add(name.split(".")[-2])
    assert formats == {
        torch.bfloat16: {"embed_tokens", "query_key_value", "dense", "fc1", "fc2", "lm_head"},
        torch.float32: {"q_layernorm", "k_layernorm", "input_layernorm", "post_layernorm", "final_layernorm"},
    }
    assert {p.dtype for p in model.projector.parameters()} == {torch.float32}


def test_inference_has_everything_in_bfloat16_but_qformer_and_adapters(
    backbones: Path, half: Config, smoke: Config
) -> None:
    model = assembly.assemble(half, backbones, with_tower=True)
    add_lora(model, smoke.model.lora)
    freeze(model, half.stage4.trainable)
    assembly.for_inference(model, torch.bfloat16)
    for name, parameter in model.named_parameters():
        stays = ".lora_" in name or name.startswith(("image_encoder.qformer", "image_encoder.query_tokens"))
        assert parameter.dtype == (torch.float32 if stays else torch.bfloat16), name
    whole = assembly.for_inference(assembly.assemble(smoke, backbones, with_tower=True), torch.float32)
    whole.projector.load_state_dict(model.projector.state_dict())
    size = smoke.model.vision.image_size
    inputs = {"input_ids": torch.tensor([[1024] * 4 + [5, 7, 11]]), "pixel_values": torch.randn(1, 3, size, size)}
    with torch.inference_mode():
        logits_BTV, expected_BTV = model(**inputs).logits, whole(**inputs).logits
    assert logits_BTV.dtype == torch.bfloat16
    assert 0 < (logits_BTV - expected_BTV).norm() / expected_BTV.norm() < 0.05


def test_a_folder_is_opened_in_the_formats_that_it_was_saved_in(
    backbones: Path, half: Config, processor: TinyGPTVProcessor, tmp_path: Path
) -> None:
    model = assembly.for_inference(assembly.assemble(half, backbones, with_tower=True), torch.bfloat16)
    model.save_pretrained(tmp_path / "folder")
    opened = AutoModelForImageTextToText.from_pretrained(tmp_path / "folder")
    assert opened.dtype == torch.bfloat16
    assert {n: p.dtype for n, p in opened.named_parameters()} == {n: p.dtype for n, p in model.named_parameters()}
    processor.save_pretrained(tmp_path / "folder")
    quantize_folder(tmp_path / "folder", tmp_path / "small", outlier_threshold=6.0, max_new_tokens=4)
    small = AutoModelForImageTextToText.from_pretrained(tmp_path / "small")
    formats = {n: p.dtype for n, p in small.named_parameters()}
    matrices = {n for n, m in small.language_model.model.layers.named_modules() if isinstance(m, Linear8bitLt)}
    assert len(matrices) == 4
    for name, parameter in model.named_parameters():
        matrix = name.removeprefix("language_model.model.layers.").removesuffix(".weight")
        assert formats[name] == (torch.int8 if matrix in matrices else parameter.dtype), name


def test_missing_backbones_are_named_when_assembling(backbones: Path, smoke: Config) -> None:
    (backbones / file_names.IMAGE_ENCODER).unlink()
    with pytest.raises(CheckpointError, match=file_names.IMAGE_ENCODER):
        assembly.assemble(smoke, backbones, with_tower=True)
