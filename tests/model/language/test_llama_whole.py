"""A model with Llama behind CLIP's tower goes where Phi's goes: adapters, folder, 8 bits, answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open

import tinygptv
from tests.model.language.words import llama_tokenizer
from tinygptv.config import Config
from tinygptv.ground.errors import CheckpointError
from tinygptv.model import TinyGPTVForConditionalGeneration, adapters, int8
from tinygptv.model.authors.building import lora_of
from tinygptv.model.authors.exporter import export_authors, export_folder, merged
from tinygptv.model.authors.folder import open_import
from tinygptv.model.processing import TinyGPTVProcessor, build_processor
from tinygptv.model.profile import from_profile

LLAMA: dict[str, Any] = {"architecture": "llama", "num_key_value_heads": 1, "vocab_size": 400}


@pytest.fixture(scope="module")
def made(smoke: Config) -> tuple[TinyGPTVForConditionalGeneration, TinyGPTVProcessor]:
    """With adapters that change something. Read only."""
    words = llama_tokenizer()
    model = smoke.model.model_copy(
        update={
            "text": smoke.model.text.model_copy(update=LLAMA),
            "vision": smoke.model.vision.model_copy(update={"tower": "clip"}),
        }
    )
    torch.manual_seed(2)
    whole = TinyGPTVForConditionalGeneration(from_profile(model, words.eos_token_id, words.bos_token_id))
    adapters.add_lora(whole, smoke.model.lora)
    for name, parameter in whole.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    processor = build_processor(
        words,
        smoke.stage4.prompt,
        image_size=smoke.stage4.image_size,
        num_query_tokens=smoke.model.qformer.num_query_tokens,
        vocab_size=LLAMA["vocab_size"],
    )
    return whole.eval(), processor


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("folder") / "whole"
    export_folder(*made, out, max_new_tokens=4)
    return out


def test_it_answers_from_its_folder_and_in_8_bits(made, folder, tmp_path):
    picture = Image.new("RGB", (40, 30), "red")
    asked = [picture, picture], ["what is it?", "is it red? yes"]
    first = tinygptv.load(str(folder)).answer(*asked)
    assert first == tinygptv.load(str(folder)).answer(*asked, batch_size=1), "no neighbour changes an answer"
    int8.quantize_folder(folder, tmp_path / "small", outlier_threshold=0.0, max_new_tokens=4)
    assert len(tinygptv.load(str(tmp_path / "small")).answer(*asked)) == 2
    with safe_open(tmp_path / "small" / "model.safetensors", framework="pt") as file:
        eight = {name for name in file.keys() if file.get_slice(name).get_dtype() == "I8"}  # noqa: SIM118 (no mapping)
    block = {f"self_attn.{part}_proj" for part in "qkvo"} | {f"mlp.{part}_proj" for part in ("gate", "up", "down")}
    assert eight == {f"language_model.model.layers.0.{name}.weight" for name in block}
    settings = json.loads((tmp_path / "small" / "config.json").read_bytes())
    assert settings["vision_config"]["model_type"] == "clip_vision_model"
    assert settings["text_config"]["num_key_value_heads"] == 1


def test_the_folder_holds_the_merged_model_and_its_tokens(made, folder):
    model, processor = open_import(folder)
    expected = merged(made[0]).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert (processor.tokenizer.bos_token, processor.tokenizer.pad_token) == ("<s>", "</s>")
    generation = json.loads((folder / "generation_config.json").read_bytes())
    assert (generation["bos_token_id"], generation["pad_token_id"]) == (1, 2)
    assert 2 in generation["eos_token_id"]


def test_adapters_on_the_mlp_are_found_again(smoke: Config):
    text = smoke.model.text.model_copy(update=LLAMA)
    with torch.device("meta"):
        model = TinyGPTVForConditionalGeneration(from_profile(smoke.model.model_copy(update={"text": text}), 2, 1))
        adapters.add_lora(model, smoke.model.lora.model_copy(update={"mlp": True}))
    table = adapters.freeze(model, ("lora",))
    block, rank = model.language_model.model.layers[0], smoke.model.lora.rank
    matrices = [m for m in block.modules() if isinstance(m, torch.nn.Linear) and m.weight.shape[0] != rank]
    own = [m for m in matrices if rank not in m.weight.shape]
    assert table.total_trainable == rank * sum(sum(m.weight.shape) for m in own)
    assert lora_of(model) == smoke.model.lora.model_copy(update={"mlp": True})


def test_it_has_no_place_in_the_authors_form(made, tmp_path):
    with pytest.raises(CheckpointError, match="only their architecture can be exported so"):
        export_authors(made[0], tmp_path)
