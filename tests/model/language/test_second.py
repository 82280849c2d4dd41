"""A second language model passes planner, adapters, freezing, 8 bits, files and imports without a change there."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.model.language.toy import TOY, ToyConfig, ToyForCausalLM
from tinygptv.config import Config
from tinygptv.ground.errors import CheckpointError, UserError
from tinygptv.ground.file_names import IMAGE_ENCODER, LANGUAGE_MODEL, TRAINED
from tinygptv.model import TinyGPTVForConditionalGeneration, adapters, int8
from tinygptv.model.assembly import assemble
from tinygptv.model.authors import convert_language_model
from tinygptv.model.authors.building import build, own_state
from tinygptv.model.authors.exporter import export_authors, export_folder
from tinygptv.model.backbones import formats_of
from tinygptv.model.frozen8bit import FrozenLinear8bit
from tinygptv.model.language import ARCHITECTURES, BY_NAME
from tinygptv.model.profile import from_profile
from tinygptv.model.stage_checkpoint import save_stage
from tinygptv.model.weights import load_weights, save_weights
from tinygptv.planning.plan import make_plan
from tinygptv.planning.sizes import measure
from tinygptv.pretraining import language

AutoConfig.register(TOY.model_type, ToyConfig, exist_ok=True)
AutoModelForCausalLM.register(ToyConfig, ToyForCausalLM, exist_ok=True)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more row of the table, and profiles that ask for it."""
    monkeypatch.setitem(ARCHITECTURES, TOY.model_type, TOY)
    monkeypatch.setitem(BY_NAME, "phi", TOY)


@pytest.fixture
def model(smoke: Config) -> TinyGPTVForConditionalGeneration:
    torch.manual_seed(1)
    return TinyGPTVForConditionalGeneration(from_profile(smoke.model, end_of_text_id=0))


def with_text(config: Config, **changes: object) -> Config:
    text = config.model.text.model_copy(update=changes)
    return config.model_copy(update={"model": config.model.model_copy(update={"text": text})})


def test_the_planner_counts_it(smoke, model):
    sizes = measure(smoke)
    assert sizes.language_model.parameters == sum(p.numel() for p in model.language_model.parameters())
    assert sizes.language_model.blocks == sum(
        p.numel() for p in model.language_model.house.floors.parameters() if p.ndim > 1
    )
    text, rank = smoke.model.text, smoke.model.lora.rank
    adapted = 2 * 2 * text.hidden_size + text.hidden_size + text.intermediate_size
    assert sizes.stages["stage4"].adapters == text.num_hidden_layers * rank * adapted
    plan = make_plan(smoke, "smoke", "cpu", 10**12, counted={})
    tokens = smoke.stage4.max_sequence_tokens
    assert plan.fits
    assert plan.stages[3].memory.activations > 1000 * tokens * text.num_hidden_layers


def test_adapters_and_groups_sit_where_it_says(smoke, model):
    adapters.add_lora(model, smoke.model.lora)
    wanted = {"projection", "input_norm", "qk_norm", "rms_norm", "final_norm", "norm_biases", "lora"}
    table = adapters.freeze(model, wanted)
    assert all(table.trainable.values())
    trained = {name.removeprefix("language_model.house.") for name in adapters.trainable_parameters(model)}
    first = {name for name in trained if name.startswith("floors.0.")}
    assert first == {
        *(f"floors.0.{m}.lora_{x}.weight" for m in ("look.q", "look.v", "down") for x in "AB"),
        *(f"floors.0.{m}.weight" for m in ("before", "between", "branch", "look_norms.q", "look_norms.k")),
        *(f"floors.0.look_norms.{m}.bias" for m in "qk"),
    }
    assert "roof.weight" in trained
    assert not any("words" in name or "tongue" in name for name in trained)


def test_a_switch_takes_its_group_away(smoke):
    bare = TinyGPTVForConditionalGeneration(from_profile(with_text(smoke, rms_norm=False).model, end_of_text_id=0))
    with pytest.raises(CheckpointError, match="trainable names rms_norm"):
        adapters.freeze(bare, ("rms_norm",))


def test_a_number_format_that_does_not_hold_is_refused(smoke):
    half = smoke.model_copy(update={"runtime": smoke.runtime.model_copy(update={"dtype": "bfloat16"})})
    assert measure(half, "stage1").language_model.parameters
    with pytest.raises(UserError, match=r"bfloat16, in which .* overflow without QK-Norm; set it to float32"):
        measure(with_text(half, qk_norm=False), "stage1")


def test_it_trains_with_its_blocks_in_8_bits_and_its_checkpoint_goes_to_disk(smoke, model, tmp_path):
    adapters.add_lora(model, smoke.model.lora)
    adapters.freeze(model, ("projection", "lora"))
    small = model.language_model
    int8.quantize_base(small, outlier_threshold=0.0)
    matrices = [part for part in small.modules() if isinstance(part, FrozenLinear8bit)]
    assert len(matrices) == 6 * smoke.model.text.num_hidden_layers
    assert type(small.tongue) is nn.Linear
    ids_BT = torch.tensor([[3, *[model.config.image_token_id] * smoke.model.qformer.num_query_tokens, 4, 5]])
    features_NQD = torch.randn(1, smoke.model.qformer.num_query_tokens, smoke.model.qformer.hidden_size)
    embedded_BTD = model.embed(ids_BT, model.projector(features_NQD))
    logits_LV = model.target_logits(embedded_BTD, torch.arange(3))
    nn.functional.cross_entropy(logits_LV, ids_BT[0, 1:4].clamp(max=31)).backward()
    assert all(p.grad is not None for p in model.projector.parameters())
    manifest = {"trainable": {"projection": 1}, "stage": "stage1", "parent": None, "backbones": {}, "features": ""}
    save_stage(model, tmp_path, manifest | {"seed": 1, "config": {}, "environment": {}, "changes": []}, ("lora",))
    assert "language_model.house.floors.0.down.lora_B.weight" in load_weights(tmp_path / TRAINED)


def test_backbones_are_assembled(smoke, model, tokenizer, tmp_path):
    save_weights(tmp_path / LANGUAGE_MODEL, model.language_model.state_dict())
    save_weights(tmp_path / IMAGE_ENCODER, model.image_encoder.state_dict())
    tokenizer.save_pretrained(tmp_path)
    assembled = assemble(smoke, tmp_path, with_tower=True)
    assert isinstance(assembled.language_model, ToyForCausalLM)
    for name, tensor in assembled.language_model.state_dict().items():
        assert torch.equal(tensor, model.language_model.state_dict()[name])
    formats = formats_of(assembled.language_model, torch.bfloat16)
    assert {name for name, dtype in formats.items() if dtype == torch.float32} == {
        name for name in formats if TOY.is_norm(name)
    }


def test_a_folder_in_8_bits_keeps_embedding_and_head(smoke, model, processor, tmp_path):
    adapters.add_lora(model, smoke.model.lora)
    export_folder(model, processor, tmp_path / "whole", max_new_tokens=4)
    int8.quantize_folder(tmp_path / "whole", tmp_path / "small", outlier_threshold=0.0, max_new_tokens=4)
    settings = json.loads((tmp_path / "small" / "config.json").read_bytes())
    assert settings["text_config"]["model_type"] == TOY.model_type
    assert settings["quantization_config"]["llm_int8_skip_modules"] == ["image_encoder", "projector", "tongue"]
    with safe_open(tmp_path / "small" / "model.safetensors", framework="pt") as file:
        formats = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (no mapping)
    whole = {name for name, form in formats.items() if form == "I8"}
    inside = ("up", "down", *(f"look.{m}" for m in "qkvo"))
    layers = range(smoke.model.text.num_hidden_layers)
    assert whole == {f"language_model.house.floors.{n}.{m}.weight" for n in layers for m in inside}


def test_published_files_become_it_and_it_never_becomes_the_authors(smoke, model, tmp_path):
    ours, back = model.language_model.state_dict(), {o: t for t, o in TOY.files.layouts["separate"]}
    theirs = {"floors.0.angles": torch.zeros(3)}
    for name, tensor in ours.items():
        if (plain := name.replace("floors.0", "floors.{n}")) in back:
            theirs[back[plain].replace("{n}", "0")] = tensor
    converted = convert_language_model(theirs, smoke.model.text.num_attention_heads, architecture=TOY)
    assert converted.tensors.keys() == ours.keys()
    assert all(torch.equal(converted.tensors[name], tensor) for name, tensor in ours.items())
    assert set(converted.fresh) == set(TOY.starts(ours)) == ours.keys() - set(converted.mapped.values())
    assert converted.ignored == {"phi/floors.0.angles": "computed, not learned"}
    with pytest.raises(CheckpointError, match="Toy-1 are not fused"):
        convert_language_model(theirs, 2, "thirds", architecture=TOY)
    halves = {name: tensor.half() for name, tensor in own_state(model).items()}
    imported = build("here", model.config, halves, None).language_model.state_dict()
    assert {name for name, tensor in imported.items() if tensor.dtype == torch.float32} == {
        name for name in imported if TOY.is_norm(name)
    }
    with pytest.raises(CheckpointError, match="only their architecture can be exported so"):
        export_authors(model, tmp_path)


def test_it_is_pretrained_as_a_stand_in(smoke, model, tokenizer):
    class Texts:
        def batch(self, step: int) -> list[list[tuple[str, bool]]]:
            return [[("red circle", True)]]

    settings = smoke.backbones.text.model_copy(update={"steps": 2})
    before = model.language_model.tongue.weight.clone()
    losses: list[float] = []
    language.pretrain(model.language_model, tokenizer, Texts(), settings, lambda step, loss: losses.append(loss))
    assert len(losses) == 2
    assert not torch.equal(model.language_model.tongue.weight, before)
