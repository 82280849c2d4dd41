"""Out as it came in, bit for bit; what trained since is in the checkpoint; what the form cannot hold is refused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tinygptv.ground.errors import CheckpointError
from tinygptv.model.adapters import has_lora, merge_lora
from tinygptv.model.authors.building import own_state
from tinygptv.model.authors.exporter import FILES, export_authors, merged
from tinygptv.model.checkpoint import import_authors
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

Tensors = dict[str, torch.Tensor]
Parts = dict[str, Tensors]
CASES = ("mg4_stage3_lora", "v2_stage4_conv")
IDS = "Qformer.bert.embeddings.position_ids"


def exported(model: TinyGPTVForConditionalGeneration, folder: Path) -> Parts:
    export_authors(model, folder)
    return {file: load_file(folder / f"{file}.safetensors") for file in FILES}


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def assert_round_trip(folder: Path, parts: Parts, run_import: Callable, **changed: object) -> None:
    model, _, report = run_import(folder / "in", parts, **changed)
    found = exported(model, folder / "out")
    for part, tensors in parts.items():
        dropped = {n for n in tensors if f"{part}/{n}" in report.ignored and n != IDS}
        assert_same(found[part], {n: t for n, t in tensors.items() if n not in dropped})


@pytest.mark.parametrize("case", CASES)
def test_the_authors_tensors_come_back_bit_for_bit(tmp_path, golden_parts, run_import, case: str) -> None:
    assert_round_trip(tmp_path, golden_parts(case), run_import)


def test_a_checkpoint_of_stage_1_comes_back(tmp_path, parts, run_import) -> None:
    old, new = "llama_model.base_model.model.", "llama_model."
    parts["checkpoint"] = {n.replace(old, new): t for n, t in parts["checkpoint"].items() if ".lora_" not in n}
    assert_round_trip(tmp_path, parts, run_import)


def test_an_early_stage_4_comes_back(tmp_path, parts, run_import) -> None:
    name = "Qformer.bert.encoder.layer.0.crossattention.self.key.weight"
    parts["checkpoint"] |= {name: parts["qformer"][name] + 1, "ln_vision.bias": parts["qformer"]["ln_vision.bias"]}
    assert_round_trip(tmp_path, parts, run_import)


def test_16_bits_come_back(tmp_path, parts, run_import) -> None:
    parts["phi"] = {name: tensor.half() for name, tensor in parts["phi"].items()}
    parts["vision"] = {name: tensor.bfloat16() for name, tensor in parts["vision"].items()}
    assert_round_trip(tmp_path, parts, run_import)


def test_what_was_exported_is_imported_again(tmp_path, imported, import_settings) -> None:
    export_authors(imported[0], tmp_path)
    paths = {file: tmp_path / f"{file}.safetensors" for file in FILES}
    again = own_state(import_authors(**paths, **import_settings("mg4_stage3_lora"))[0])
    assert_same(again, own_state(imported[0]))


def test_what_trained_since_goes_into_the_checkpoint(tmp_path, parts, run_import) -> None:
    model = run_import(tmp_path / "in", parts)[0]
    before = exported(model, tmp_path / "before")
    layer = model.language_model.model.layers[1]
    changed = (layer.input_layernorm.weight, layer.self_attn.q_layernorm.bias, layer.input_layernorm.bias)
    with torch.no_grad():
        for parameter in changed:
            parameter.add_(1.0)
        layer.self_attn.dense.lora_B["default"].weight.mul_(2.0)
    after = exported(model, tmp_path / "after")
    prefix = "llama_model.base_model.model.model.layers.1."
    checkpoint = after.pop("checkpoint")
    former = before.pop("checkpoint")
    assert checkpoint.keys() - former.keys() == {f"{prefix}self_attn.q_layernorm.bias"}
    differing = {name for name in former if not torch.equal(checkpoint[name], former[name])}
    assert differing == {f"{prefix}input_layernorm.weight", f"{prefix}self_attn.dense.lora_B.weight"}
    # A norm's bias that the base has, and that trains here and not with the authors, is in the base's file.
    bias = "model.layers.1.input_layernorm.bias"
    assert torch.equal(after["phi"].pop(bias), before["phi"].pop(bias) + 1.0)
    for file in ("phi", "vision", "qformer"):
        assert_same(after[file], before[file])


def test_a_model_of_our_own_is_exported_and_imported(tmp_path, make_model, processor) -> None:
    model = make_model(seed=4)
    with torch.no_grad():
        for block in model.image_encoder.vision_model.encoder.layers:
            block.self_attn.qkv.bias.normal_().chunk(3)[1].zero_()
    export_authors(model, tmp_path / "authors")
    processor.tokenizer.save_pretrained(tmp_path / "tokenizer")
    config = model.config
    again, _, report = import_authors(
        **{file: tmp_path / "authors" / f"{file}.safetensors" for file in FILES},
        tokenizer=tmp_path / "tokenizer",
        image_size=config.vision_config.image_size,
        heads={
            "text": config.text_config.num_attention_heads,
            "vision": config.vision_config.num_attention_heads,
            "qformer": config.qformer_config.num_attention_heads,
        },
    )
    assert_same(own_state(again), own_state(model))
    assert report.fresh == []


def test_a_bias_of_keys_is_refused(tmp_path, imported) -> None:
    model = deepcopy(imported[0])
    model.image_encoder.vision_model.encoder.layers[0].self_attn.qkv.bias.data[64] = 0.5
    with pytest.raises(CheckpointError, match="has a bias for keys"):
        export_authors(model, tmp_path)


def test_8_bits_and_other_architectures_are_refused(tmp_path, imported) -> None:
    model = deepcopy(imported[0])
    dense = model.language_model.model.layers[0].mlp.fc1
    dense.weight = torch.nn.Parameter(dense.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(CheckpointError, match="is in 8 bits"):
        export_authors(model, tmp_path)
    model = deepcopy(imported[0])
    model.config.text_config.rms_norm = False
    with pytest.raises(CheckpointError, match="lacks norms that the authors' always has"):
        export_authors(model, tmp_path)
    model = deepcopy(imported[0])
    model.image_encoder.vision_model.more = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match="has no place in the authors' files"):
        export_authors(model, tmp_path)


def test_merging_leaves_the_model_as_it_is_and_shares_the_rest(imported) -> None:
    model = imported[0]
    before = {name: tensor.clone() for name, tensor in own_state(model).items()}
    twin = merged(model)
    assert_same(own_state(model), before)
    assert has_lora(model)
    assert not has_lora(twin)
    other = deepcopy(model)
    merge_lora(other)
    assert_same(own_state(twin), own_state(other))
    assert twin.language_model.lm_head.weight.data_ptr() == model.language_model.lm_head.weight.data_ptr()


def test_a_merge_of_16_bits_is_rounded_once(tmp_path, parts, run_import) -> None:
    parts["phi"] = {name: tensor.half() for name, tensor in parts["phi"].items()}
    state = own_state(run_import(tmp_path / "in", parts)[0])
    twin = merged(run_import(tmp_path / "in", parts)[0])
    name = "language_model.model.layers.0.self_attn.dense"
    delta = state[f"{name}.lora_B.weight"] @ state[f"{name}.lora_A.weight"] * (16 / 4)
    expected = (state[f"{name}.weight"].float() + delta).half()
    assert torch.equal(own_state(twin)[f"{name}.weight"], expected)
