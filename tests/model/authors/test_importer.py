"""The authors' files in all their forms; every tensor accounted for; what does not fit refused in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tinygptv.config import Prompt
from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.runtime import autocast
from tinygptv.model.adapters import has_lora
from tinygptv.model.authors.building import own_state
from tinygptv.model.authors.report import ImportReport

Parts = dict[str, dict[str, torch.Tensor]]
PREFIX = "llama_model.base_model.model."


def without_lora(parts: Parts) -> Parts:
    """A checkpoint as stage 1 without adapters has it."""
    left = {n.replace(PREFIX, "llama_model."): t for n, t in parts["checkpoint"].items() if ".lora_" not in n}
    return parts | {"checkpoint": left}


def assert_same_state(model: torch.nn.Module, other: torch.nn.Module) -> None:
    found, expected = own_state(model), own_state(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_report_accounts_for_every_tensor(imported, golden_parts) -> None:
    _, _, report = imported
    names = {f"{part}/{name}" for part, tensors in golden_parts("mg4_stage3_lora").items() for name in tensors}
    assert report.mapped.keys() | report.ignored.keys() == names
    assert report.mapped.keys().isdisjoint(report.ignored)
    assert report.ignored["qformer/t5_proj.weight"] == "BLIP-2's language model; TinyGPT-V has Phi"
    assert "text branch" in report.ignored["qformer/Qformer.bert.encoder.layer.0.intermediate.dense.weight"]
    assert report.lora == {"rank": 4, "alpha": 16}
    assert report.sizes | {"vocabulary": 400, "queries": 32, "projection": 4096, "vision_mlp": 279} == report.sizes
    assert "phi/model.final_layernorm.weight" in report.replaced
    assert len(report.fresh) == 6, "biases of the added norms, which no checkpoint holds"
    assert all(re.search(r"[qk]_layernorm\.bias$", name) for name in report.fresh)


def test_the_report_is_json_and_text(imported) -> None:
    report = imported[2]
    assert ImportReport.from_json(json.loads(json.dumps(report.as_json())), "here") == report
    text = str(report)
    assert "LoRA of rank 4, alpha 16" in text
    assert "t5_proj" in text
    with pytest.raises(CheckpointError, match="here is no report of this version"):
        ImportReport.from_json({"files": {}}, "here")


def test_the_model_is_ready_and_its_weights_are_the_files(imported, golden_parts) -> None:
    model, processor, _ = imported
    phi = golden_parts("mg4_stage3_lora")["phi"]
    assert has_lora(model)
    assert not model.training
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"cpu"}
    state = own_state(model)
    name = "model.layers.1.self_attn.query_key_value.weight"
    assert torch.equal(state[f"language_model.{name}"], phi[name])
    assert processor.image_processor.size["height"] == 224
    assert processor.image_token_id == model.config.image_token_id == 400
    assert model.config.text_config.eos_token_id == 399


def test_the_prompt_is_that_of_the_authors_benchmarks_or_the_callers(tmp_path, parts, run_import, imported) -> None:
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "who?"}]}
    text = imported[1].apply_chat_template([message], add_generation_prompt=True)
    assert text == "###Human: <Img><ImageHere></Img> who? ###Assistant: "
    prompt = Prompt(
        template="[INST] {} [/INST]",
        end_mark="###",
        bos_in_training=True,
        bos_at_inference=True,
        bos_between_turns=False,
    )
    processor = run_import(tmp_path, parts, prompt=prompt)[1]
    text = processor.apply_chat_template([message], add_generation_prompt=True)
    assert text == "[INST] <Img><ImageHere></Img> who? [/INST]"
    assert processor.bos_at_inference


def test_newer_names_of_peft_give_the_same(tmp_path, parts, run_import, imported) -> None:
    parts["checkpoint"] = {
        re.sub(r"(lora_[AB])\.weight", r"\1.default.weight", name): tensor
        for name, tensor in parts["checkpoint"].items()
    }
    name = "model.layers.0.self_attn.dense"
    parts["checkpoint"][f"{PREFIX}{name}.base_layer.weight"] = parts["phi"][f"{name}.weight"]
    assert_same_state(run_import(tmp_path, parts)[0], imported[0])


def test_a_checkpoint_of_stage_1_has_no_adapters(tmp_path, parts, run_import, imported) -> None:
    model, _, report = run_import(tmp_path, without_lora(parts))
    assert not has_lora(model)
    assert report.lora is None
    assert "no LoRA" in str(report)
    expected = {n: t for n, t in own_state(imported[0]).items() if ".lora_" not in n}
    found = own_state(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_without_a_checkpoint_norms_and_projections_start_fresh(tmp_path, parts, run_import) -> None:
    del parts["checkpoint"]
    torch.manual_seed(3)
    model, _, report = run_import(tmp_path, parts)
    layer = model.language_model.model.layers[2]
    assert (layer.post_layernorm.weight == 1).all()
    assert (layer.self_attn.q_layernorm.weight == 1).all()
    assert (layer.self_attn.k_layernorm.bias == 0).all()
    assert model.projector.linear_1.weight.shape == (4096, 48)
    torch.manual_seed(3)
    assert torch.equal(run_import(tmp_path, parts)[0].projector.linear_1.weight, model.projector.linear_1.weight)
    assert len(report.fresh) == 3 * 5 + 4
    assert report.replaced == []


def test_an_early_stage_4_brings_its_own_qformer(tmp_path, parts, run_import) -> None:
    name = "Qformer.bert.encoder.layer.0.crossattention.self.key.weight"
    parts["checkpoint"] |= {name: parts["qformer"][name] + 1, "query_tokens": parts["qformer"]["query_tokens"] * 2}
    model, _, report = run_import(tmp_path, parts)
    key = model.image_encoder.qformer.encoder.layer[0].crossattention.attention.key.weight
    assert torch.equal(key, parts["checkpoint"][name])
    assert torch.equal(model.image_encoder.query_tokens, parts["checkpoint"]["query_tokens"])
    assert {f"qformer/{name}", "qformer/query_tokens"} <= set(report.replaced)


def test_positions_stay_as_learned_and_images_may_be_larger(tmp_path, parts, run_import, import_settings) -> None:
    model, processor, _ = run_import(tmp_path, parts, image_size=448)
    assert model.config.vision_config.image_size == 224
    assert processor.image_processor.size["height"] == 448
    table = parts["vision"]["pos_embed"]
    patches = table[:, 1:].unflatten(1, (16, 16)).permute(0, 3, 1, 2)
    large = torch.nn.functional.interpolate(patches, (32, 32), mode="bicubic").flatten(2).transpose(1, 2)
    parts["vision"]["pos_embed"] = torch.cat([table[:, :1], large], dim=1)
    other = run_import(tmp_path / "large", parts, image_size=448)[0]
    assert other.config.vision_config.image_size == 448
    pixels_BCHW = torch.randn(1, 3, 448, 448, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model.get_image_features(pixels_BCHW), other.get_image_features(pixels_BCHW))


def test_matrices_of_16_bits_stay_and_all_else_is_float32(tmp_path, parts, run_import, imported) -> None:
    parts["phi"] = {name: tensor.half() for name, tensor in parts["phi"].items()}
    model = run_import(tmp_path, parts)[0]
    formats = {name: tensor.dtype for name, tensor in own_state(model).items()}
    half = {name for name, dtype in formats.items() if dtype == torch.float16}
    assert half == {
        name for name in formats if name.startswith("language_model.") and not re.search(r"layernorm|lora_", name)
    }
    assert model.dtype == torch.float16, "that of the language model"
    ids_BT, pixels_BCHW = torch.full((1, 40), 400), torch.zeros(1, 3, 224, 224)
    ids_BT[:, 32:] = 5
    with torch.inference_mode():
        expected = imported[0](input_ids=ids_BT, pixel_values=pixels_BCHW).logits
        with autocast(model):
            found = model(input_ids=ids_BT, pixel_values=pixels_BCHW).logits
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_weights_stay_in_their_files(imported) -> None:
    """No copy at import: the model's matrices lie in the mapping of the file."""
    model = imported[0]
    address = model.language_model.lm_head.weight.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            assert line.endswith("phi.safetensors")
            return
    raise AssertionError("the address is in no mapping")


def lose(part: str, name: str) -> Callable[[Parts], object]:
    return lambda parts: parts[part].pop(name)


def put(part: str, name: str, *shape: int) -> Callable[[Parts], object]:
    return lambda parts: parts[part].update({name: torch.zeros(shape)})


@pytest.mark.drill(21, "incomplete, renamed and misshapen weights: refused with the list")
@pytest.mark.parametrize(
    ("change", "file", "message"),
    [
        (lose("checkpoint", "llama_proj2.bias"), "checkpoint", r"1 missing: llama_proj2\.bias"),
        (
            lose("checkpoint", f"{PREFIX}model.layers.1.self_attn.q_layernorm.weight"),
            "checkpoint",
            r"1 missing: llama_model\.base_model\.model\.model\.layers\.1\.self_attn\.q_layernorm\.weight",
        ),
        (
            lose("checkpoint", f"{PREFIX}model.layers.1.self_attn.dense.lora_B.weight"),
            "checkpoint",
            r"1 missing: llama_model\.base_model\.model\.model\.layers\.1\.self_attn\.dense\.lora_B\.weight",
        ),
        (put("checkpoint", "visual_encoder.extra", 2), "checkpoint", r"1 unknown: visual_encoder\.extra"),
        (
            put("checkpoint", f"{PREFIX}model.layers.7.input_layernorm.weight", 64),
            "checkpoint",
            r"1 unknown: .*layers\.7\.input_layernorm\.weight",
        ),
        (
            put("checkpoint", "llama_proj2.weight", 3, 4096),
            "checkpoint",
            r"llama_proj2\.weight \(3, 4096\) for \(64, 4096\)",
        ),
        (
            put("checkpoint", f"{PREFIX}model.layers.2.self_attn.dense.lora_A.weight", 5, 64),
            "checkpoint",
            r"1 of another shape: .*layers\.2\.self_attn\.dense\.lora_A\.weight \(5, 64\) for \(4, 64\)",
        ),
        (
            put("checkpoint", "llama_model.model.final_layernorm.weight", 64),
            "checkpoint",
            "holds the same tensor twice",
        ),
        (lose("phi", "model.layers.2.mlp.fc1.bias"), "phi", r"1 missing: model\.layers\.2\.mlp\.fc1\.bias"),
        (put("phi", "model.layers.0.post_layernorm.weight", 64), "phi", "14 missing: .* and 9 more"),
        (put("phi", "lora", 1), "phi", "1 unknown: lora"),
        (put("qformer", "query_tokens", 1, 32, 40), "qformer", r"\(1, 32, 40\)|heads|another shape"),
        (put("vision", "pos_embed", 1, 256, 64), "vision", "no square of patches"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, parts, run_import, change, file: str, message: str) -> None:
    change(parts)
    with pytest.raises(CheckpointError, match=message) as raised:
        run_import(tmp_path, parts)
    assert f"{file}.safetensors" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": {"text": 4, "vision": 4}}, "heads must name text, vision, qformer"),
        ({"heads": {"text": 4, "vision": 5, "qformer": 4}}, r"vision\.safetensors: 5 heads"),
        ({"heads": {"text": 4, "vision": 4, "qformer": 0}}, r"qformer\.safetensors: 0 heads"),
        ({"heads": {"text": 32, "vision": 4, "qformer": 4}}, "of another shape: .*layernorm"),
        ({"heads": {"text": 1, "vision": 4, "qformer": 4}}, "are not Phi-2's"),
        ({"image_size": 225}, "no multiple of the tower's patches of 14 pixels"),
        ({"lora_alpha": 0}, "lora_alpha 0 is not a whole number of at least 1"),
        ({"layout": "separate"}, "layout 'separate' cannot be that of"),
        ({"tokenizer": Path("nowhere")}, "tokenizer.json is missing"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, parts, run_import, changed, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        run_import(tmp_path, parts, **changed)


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path, parts, run_import) -> None:
    golden = Path(__file__).parents[2] / "golden" / "tokenizer"
    (tmp_path / "tokenizer.json").write_bytes((golden / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(CheckpointError, match="names no eos_token"):
        run_import(tmp_path, parts, tokenizer=tmp_path)


def test_what_a_pickle_holds_beside_is_accounted_for(tmp_path, parts, import_settings, write_parts) -> None:
    from tinygptv.model.checkpoint import import_authors

    paths = write_parts(tmp_path, parts)
    paths["checkpoint"] = tmp_path / "ckpt.pth"
    torch.save({"model": parts["checkpoint"], "epoch": 3, "secrets": [1]}, paths["checkpoint"])
    with pytest.raises(CheckpointError, match=r"ckpt\.pth does not fit \(1 unknown: secrets\)"):
        import_authors(**paths, **import_settings("mg4_stage3_lora"))
