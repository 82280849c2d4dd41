"""Published files become the authors' model: Phi without the added norms, BLIP-2 without its language model.

The golden case ``mg4_stage3_lora`` was assembled by the authors' code from base weights that lack the added norms. Its
weights are written here as the hub has them (transformers' names of today, shards, an index).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tinygptv.config import Lora, Model, Published, QFormer, Text, Vision
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.ground.errors import CheckpointError, DataError
from tinygptv.ground.file_names import IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER
from tinygptv.model.adapters import add_lora, load_tensors
from tinygptv.model.assembly import assemble
from tinygptv.model.language import AUTHORS
from tinygptv.model.upstream.build import build
from tinygptv.model.upstream.pins import INDEX

GOLDEN = Path(__file__).parents[2] / "golden" / "mg4_stage3_lora"
FACTS = json.loads((GOLDEN / "case.json").read_text())
TOLERANCE, SLOT = 3e-5, -200
SIZES = FACTS["dims"]


@pytest.fixture(scope="module")
def weights():
    return load_file(GOLDEN / "weights.safetensors")


@pytest.fixture(scope="module")
def config(smoke):
    vit, qformer, phi = SIZES["vit"], SIZES["qformer"], SIZES["phi"]
    model = Model(
        vision=Vision(
            tower="eva",
            image_size=224,
            patch_size=14,
            hidden_size=vit["embed_dim"],
            num_hidden_layers=vit["depth"],
            num_attention_heads=vit["num_heads"],
            intermediate_size=279,
        ),
        qformer=QFormer(num_query_tokens=32, cross_attention_frequency=2, **qformer),
        projection_size=4096,
        text=Text(
            **phi,
            partial_rotary_factor=FACTS["rope"]["partial_rotary_factor"],
            resid_pdrop=0.1,
            qk_norm=True,
            rms_norm=True,
        ),
        lora=Lora(rank=FACTS["lora_r"], alpha=FACTS["lora_alpha"], dropout=0.0),
        initializer_range=0.02,
    )
    published = Published(source="hub", language_model="a/b", image_encoder="c/d", folder="")
    return smoke.model_copy(update={"model": model, "backbones": published})


def of_phi(weights):
    """As transformers has it: three matrices for queries, keys and values."""
    heads, hub = SIZES["phi"]["num_attention_heads"], {}
    for name, tensor in weights.items():
        if name.startswith("phi."):
            own = name.removeprefix("phi.")
            if "query_key_value" in own:
                for letter, part in zip("qkv", tensor.unflatten(0, (heads, 3, -1)).unbind(1), strict=True):
                    hub[own.replace("query_key_value", f"{letter}_proj")] = part.flatten(0, 1).contiguous()
            else:
                hub[own] = tensor
    return hub


TO_HUB = (
    (r"vision\.cls_token", "vision_model.embeddings.class_embedding"),
    (r"vision\.pos_embed", "vision_model.embeddings.position_embedding"),
    (r"vision\.patch_embed\.proj\.(.*)", r"vision_model.embeddings.patch_embedding.\1"),
    (r"vision\.blocks\.(\d+)\.norm([12])\.(.*)", r"vision_model.encoder.layers.\1.layer_norm\2.\3"),
    (r"vision\.blocks\.(\d+)\.attn\.qkv\.(.*)", r"vision_model.encoder.layers.\1.self_attn.qkv.\2"),
    (r"vision\.blocks\.(\d+)\.attn\.proj\.(.*)", r"vision_model.encoder.layers.\1.self_attn.projection.\2"),
    (r"vision\.blocks\.(\d+)\.mlp\.(.*)", r"vision_model.encoder.layers.\1.mlp.\2"),
    (r"qformer\.ln_vision\.(.*)", r"vision_model.post_layernorm.\1"),
    (r"qformer\.query_tokens", "query_tokens"),
    (r"qformer\.Qformer\.bert\.embeddings\.LayerNorm\.(.*)", r"qformer.layernorm.\1"),
    (
        r"qformer\.Qformer\.bert\.encoder\.layer\.(\d+)\.(cross)?attention\.self\.(.*)",
        r"qformer.encoder.layer.\1.\2attention.attention.\3",
    ),
    (
        r"qformer\.Qformer\.bert\.encoder\.layer\.(\d+)\.((?:cross)?attention\.output|\w+_query)\.(.*)",
        r"qformer.encoder.layer.\1.\2.\3",
    ),
)


def of_blip(weights):
    hub = {"language_model.shared.weight": torch.ones(3), "language_projection.weight": torch.ones(3)}
    for name, tensor in weights.items():
        for pattern, replacement in TO_HUB:
            if match := re.fullmatch(pattern, name):
                hub[match.expand(replacement).replace("None", "")] = tensor
        if match := re.fullmatch(r"vision\.blocks\.(\d+)\.attn\.q_bias", name):
            value = weights[name.replace("q_bias", "v_bias")]
            bias = torch.cat([tensor, torch.zeros_like(value), value])
            hub[f"vision_model.encoder.layers.{match[1]}.self_attn.qkv.bias"] = bias
    return hub


def write_repository(folder, shards):
    """Files of a repository: its shards, whose tensors the index lists, and the index."""
    folder.mkdir(parents=True)
    table = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
        table |= dict.fromkeys(tensors, name)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return {path.name: path for path in folder.iterdir()}


def halves(tensors):
    names = sorted(tensors)
    half = len(names) // 2
    return [{n: tensors[n] for n in part} for part in (names[:half], names[half:])]


def write_tokenizer(folder, size=400, end=AUTHORS.end_of_text):
    words = {f"w{n}": n for n in range(size - 1)} | {end: size - 1}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w0"))
    tokenizer.add_special_tokens([end])
    tokenizer.save(str(folder / TOKENIZER))
    return {TOKENIZER: folder / TOKENIZER}


@pytest.fixture
def phi_files(weights, tmp_path):
    files = write_repository(tmp_path / "phi", halves(of_phi(weights)))
    return files | write_tokenizer(tmp_path / "phi")


@pytest.fixture
def blip_files(weights, tmp_path):
    """BLIP-2's language model has a shard of its own, which is not there."""
    theirs = of_blip(weights)
    needed = {name: tensor for name, tensor in theirs.items() if not name.startswith("language_model.")}
    rest = {name: tensor for name, tensor in theirs.items() if name not in needed}
    files = write_repository(tmp_path / "blip", [*halves(needed), rest])
    files.pop("model-00003-of-00003.safetensors").unlink()
    return files


@pytest.fixture
def backbones(config, phi_files, blip_files, tmp_path):
    out = tmp_path / "backbones"
    out.mkdir()
    build(config, phi_files, blip_files, out)
    return out


def test_the_added_norms_start_at_one_and_zero(backbones, weights):
    tensors = load_file(backbones / LANGUAGE_MODEL)
    added = {name: tensor for name, tensor in tensors.items() if re.search(r"[qk]_layernorm|post_layernorm", name)}
    assert len(added) == 5 * SIZES["phi"]["num_hidden_layers"]
    for name, tensor in added.items():
        assert torch.equal(tensor, torch.full_like(tensor, 1.0 if name.endswith("weight") else 0.0)), name
    for name, tensor in tensors.items():
        if name not in added:
            assert torch.equal(tensor, weights[f"phi.{name}"]), name


@torch.inference_mode()
def test_the_assembled_model_is_the_authors(config, backbones, weights):
    """Fresh norms, then what the authors trained: outputs are theirs to 3e-5, and so are the greedy tokens."""
    model = assemble(config, backbones, with_tower=True)
    add_lora(model, config.model.lora)
    prefixes = {
        "ckpt.llama_model.base_model.model.": "language_model.",
        "ckpt.llama_proj.": "projector.linear_1.",
        "ckpt.llama_proj2.": "projector.linear_2.",
    }
    trained = {
        own + name.removeprefix(theirs): tensor
        for theirs, own in prefixes.items()
        for name, tensor in weights.items()
        if name.startswith(theirs)
    }
    assert len(trained) == len(FACTS["ckpt_keys"]) - 1  # all but position_ids
    load_tensors(model, trained, "golden")
    model.eval()

    inputs, expected = load_file(GOLDEN / "inputs.safetensors"), load_file(GOLDEN / "expected.safetensors")
    slot = model.config.image_token_id
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == SLOT, slot)
    how = FACTS["images"]
    pixels_BCHW = torch.randn(how["shape"], generator=torch.Generator().manual_seed(how["generator_seed"]))
    output = model(**inputs, pixel_values=pixels_BCHW)
    attended_BT, labels_BT = inputs["attention_mask"].bool(), inputs["labels"][:, 1:]
    nll_BT = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].transpose(1, 2), labels_BT, ignore_index=IGNORE_INDEX, reduction="none"
    )
    assert (model.get_image_features(pixels_BCHW) - expected["visual_tokens"]).abs().max() < TOLERANCE
    assert (output.logits - expected["logits"])[attended_BT].abs().max() < TOLERANCE
    assert (nll_BT - expected["token_nll"])[labels_BT != IGNORE_INDEX].abs().max() < TOLERANCE
    assert abs(output.loss.item() - FACTS["loss"]) < TOLERANCE

    rows = FACTS["gen_input_ids"]
    longest = max(map(len, rows))
    ids_BT = torch.tensor([[FACTS["pad"]] * (longest - len(row)) + row for row in rows])
    answers_BT = model.generate(
        input_ids=ids_BT.masked_fill(ids_BT == SLOT, slot),
        attention_mask=torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
        pixel_values=pixels_BCHW,
        do_sample=False,
        max_new_tokens=expected["gen_tokens"].shape[1],
    )
    assert answers_BT[:, longest:].tolist() == expected["gen_tokens"].tolist()


def test_the_tokenizer_is_the_repositorys(backbones):
    from tinygptv.model.processing import read_tokenizer

    tokenizer = read_tokenizer(backbones)
    assert len(tokenizer) == 400
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 399


def test_number_formats_are_those_of_use(config, phi_files, blip_files, tmp_path):
    half = config.model_copy(update={"runtime": config.runtime.model_copy(update={"dtype": "bfloat16"})})
    build(half, phi_files, blip_files, tmp_path)
    model = assemble(half, tmp_path, with_tower=True)
    for file, module in ((LANGUAGE_MODEL, model.language_model), (IMAGE_ENCODER, model.image_encoder)):
        stored = load_file(tmp_path / file)
        assert {name: tensor.dtype for name, tensor in stored.items()} == {
            name: tensor.dtype for name, tensor in module.state_dict().items()
        }
    language, encoder = load_file(tmp_path / LANGUAGE_MODEL), load_file(tmp_path / IMAGE_ENCODER)
    assert {tensor.dtype for name, tensor in language.items() if "norm" in name} == {torch.float32}
    assert {tensor.dtype for name, tensor in language.items() if "norm" not in name} == {torch.bfloat16}
    assert {tensor.dtype for name, tensor in encoder.items() if name.startswith("qformer.")} == {torch.float32}
    assert {tensor.dtype for name, tensor in encoder.items() if ".mlp." in name} == {torch.bfloat16}


def test_ablations_leave_the_added_norms_out(config, phi_files, blip_files, tmp_path):
    text = config.model.text.model_copy(update={"qk_norm": False, "rms_norm": False})
    without = config.model_copy(update={"model": config.model.model_copy(update={"text": text})})
    build(without, phi_files, blip_files, tmp_path)
    assert not [name for name in load_file(tmp_path / LANGUAGE_MODEL) if re.search("[qk]_layernorm|post_layer", name)]
    assemble(without, tmp_path, with_tower=False)


def test_a_single_file_without_index(config, weights, blip_files, backbones, tmp_path):
    """Phi-1.5 has one."""
    folder = tmp_path / "single"
    folder.mkdir()
    save_file(of_phi(weights), folder / "model.safetensors")
    build(config, {"model.safetensors": folder / "model.safetensors"} | write_tokenizer(folder), blip_files, folder)
    assert (folder / LANGUAGE_MODEL).read_bytes() == (backbones / LANGUAGE_MODEL).read_bytes()


def test_files_beside_the_pinned_ones_are_not_looked_at(config, phi_files, blip_files, backbones, tmp_path):
    (tmp_path / "phi" / "model.safetensors").write_bytes(b"poison")
    (tmp_path / "phi" / "pytorch_model.bin").write_bytes(b"poison")
    out = tmp_path / "again"
    out.mkdir()
    build(config, phi_files, blip_files, out)
    for name in (LANGUAGE_MODEL, IMAGE_ENCODER, TOKENIZER):
        assert (out / name).read_bytes() == (backbones / name).read_bytes()


def refused(error, build_it, *words):
    with pytest.raises(error) as caught:
        build_it()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))


def test_a_shard_that_is_not_pinned_is_not_used(config, phi_files, blip_files, tmp_path):
    shard = "model-00002-of-00002.safetensors"
    del phi_files[shard]
    refused(DataError, lambda: build(config, phi_files, blip_files, tmp_path), shard, "backbones.lock.json")


@pytest.mark.drill(21, "a file of the hub that lacks a tensor, or of another model")
def test_a_tensor_that_is_missing_is_named(config, weights, blip_files, tmp_path):
    tensors = of_phi(weights)
    del tensors["model.layers.1.mlp.fc1.weight"]
    files = write_repository(tmp_path / "phi", [tensors]) | write_tokenizer(tmp_path / "phi")
    refused(CheckpointError, lambda: build(config, files, blip_files, tmp_path), "model.layers.1.mlp.fc1.weight")


@pytest.mark.drill(21, "a file of the hub that lacks a tensor, or of another model")
@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"intermediate_size": 128}, ("of another shape", "fc1")),
        ({"num_hidden_layers": 2}, ("unknown", "model.layers.2.")),
        ({"vocab_size": 500}, ("of another shape", "lm_head")),
    ],
)
def test_another_models_sizes_are_refused(config, phi_files, blip_files, tmp_path, change, names):
    other = config.model.model_copy(update={"text": config.model.text.model_copy(update=change)})
    changed = config.model_copy(update={"model": other})
    refused(CheckpointError, lambda: build(changed, phi_files, blip_files, tmp_path), "section `model`", *names)


def test_another_tokenizer_is_refused(config, phi_files, blip_files, tmp_path):
    write_tokenizer(tmp_path / "phi", end="</s>")
    refused(
        CheckpointError, lambda: build(config, phi_files, blip_files, tmp_path), "tokenizer.json", AUTHORS.end_of_text
    )
    write_tokenizer(tmp_path / "phi", size=401)
    refused(CheckpointError, lambda: build(config, phi_files, blip_files, tmp_path), "401", "400")


def test_an_import_of_the_authors_base_files_gives_the_same(backbones, weights, tmp_path):
    """Another way to the same model: their files in their layout, through ``import_authors``."""
    from tinygptv.model.authors.importer import import_authors

    files = {}
    for part in ("phi", "vision", "qformer"):
        files[part] = tmp_path / f"{part}.safetensors"
        named = {name.removeprefix(f"{part}."): t for name, t in weights.items() if name.startswith(f"{part}.")}
        save_file(named, files[part])
    heads = {"text": 4, "vision": 4, "qformer": 4}
    model, _, _ = import_authors(**files, tokenizer=backbones, image_size=224, heads=heads)
    for file, module in ((LANGUAGE_MODEL, model.language_model), (IMAGE_ENCODER, model.image_encoder)):
        built, imported = load_file(backbones / file), module.state_dict()
        assert built.keys() == imported.keys()
        assert all(torch.equal(tensor, imported[name]) for name, tensor in built.items())
