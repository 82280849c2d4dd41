"""The paper's other backbones from their published files: TinyLLaMA's, and LAVIS' two pickles for CLIP."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.model.authors.test_clip import TOWER, files, modules  # noqa: F401 (fixtures)
from tests.model.authors.test_convert import randomise
from tests.model.language.words import write_llama_tokenizer
from tests.refusals import refused as in_one_line
from tinygptv.config import Config, QFormer, Text, Vision
from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.file_names import IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER, WEIGHTS
from tinygptv.model.assembly import assemble
from tinygptv.model.authors import convert_language_model
from tinygptv.model.language import BY_NAME
from tinygptv.model.upstream.build import build

SIZES = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
refused = partial(in_one_line, error=CheckpointError)
LAVIS = ("clip_vit_L.pth", "blip2_pretrained_vitL.pth")


@pytest.fixture
def config(smoke: Config) -> Config:
    """Llama behind CLIP."""
    text = Text(**SIZES, architecture="llama", partial_rotary_factor=1.0, resid_pdrop=0.0, qk_norm=True, rms_norm=True)
    vision = Vision(
        tower="clip",
        image_size=TOWER.image_size,
        patch_size=TOWER.patch_size,
        hidden_size=TOWER.hidden_size,
        num_hidden_layers=TOWER.num_hidden_layers,
        num_attention_heads=TOWER.num_attention_heads,
        intermediate_size=TOWER.intermediate_size,
    )
    looks = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    qformer = QFormer(num_query_tokens=5, cross_attention_frequency=2, **looks)
    model = smoke.model.model_copy(update={"text": text, "vision": vision, "qformer": qformer})
    return smoke.model_copy(update={"model": model})


@pytest.fixture
def llama() -> LlamaForCausalLM:
    model = LlamaForCausalLM(LlamaConfig(**SIZES, rms_norm_eps=1e-5)).eval()
    randomise(model)
    return model


@pytest.fixture
def llama_files(llama, tmp_path) -> dict[str, Path]:
    """One file of weights and the tokenizer, as TinyLlama's repository has them."""
    folder = tmp_path / "llama"
    folder.mkdir()
    tensors = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    save_file(tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, folder / WEIGHTS)
    write_llama_tokenizer(folder / TOKENIZER)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def clip_files(files, tmp_path) -> dict[str, Path]:  # noqa: F811
    """Pickles: the tower's tensors bare, the Q-Former's under ``model``."""
    folder = tmp_path / "lavis"
    folder.mkdir()
    vision, qformer = files
    torch.save(vision, folder / LAVIS[0])
    torch.save({"model": qformer}, folder / LAVIS[1])
    return {path.name: path for path in folder.iterdir()}


def test_they_become_backbones_that_assemble(config, llama, llama_files, clip_files, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    build(config, llama_files, clip_files, out)
    ours, theirs = load_file(out / LANGUAGE_MODEL), llama.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    added = {name: tensor for name, tensor in ours.items() if name not in theirs}
    assert len(added) == 5 * SIZES["num_hidden_layers"]
    assert all(bool((tensor == float(name.endswith("weight"))).all()) for name, tensor in added.items())
    model = assemble(config, out, with_tower=True)
    text = model.config.text_config
    assert (text.bos_token_id, text.eos_token_id, text.pad_token_id) == (1, 2, 2)
    assert model.image_encoder.is_clip
    pixels = torch.randn(1, 3, TOWER.image_size, TOWER.image_size)
    assert model.image_encoder(pixels).shape == (1, 5, 32)
    assert load_file(out / IMAGE_ENCODER).keys() == model.image_encoder.state_dict().keys()


def test_weights_of_another_family_are_refused_in_one_line(config, llama, llama_files, clip_files, tmp_path):
    phi = config.model.text.model_copy(update={"architecture": "phi", "num_key_value_heads": None})
    other = config.model_copy(update={"model": config.model.model_copy(update={"text": phi})})
    words = {TOKENIZER: tmp_path / "words.json"}
    write_llama_tokenizer(words[TOKENIZER])
    text = words[TOKENIZER].read_text()
    words[TOKENIZER].write_text(text.replace('"</s>"', '"<|endoftext|>"'))
    refused(
        lambda: build(other, llama_files | words, clip_files, tmp_path),
        str(llama_files[WEIGHTS].parent),
        "holds a language model of Llama's kind, not of Phi's",
    )
    from transformers import PhiConfig, PhiForCausalLM

    sizes = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}
    tensors = PhiForCausalLM(PhiConfig(**sizes, partial_rotary_factor=0.5)).state_dict()
    with pytest.raises(CheckpointError, match=r"of Phi's kind, not of Llama's; model\.text\.architecture calls it phi"):
        convert_language_model(tensors, 4, architecture=BY_NAME["llama"])


def test_other_sizes_of_keys_are_refused(config, llama_files, clip_files, tmp_path):
    text = config.model.text.model_copy(update={"num_key_value_heads": 4})
    other = config.model_copy(update={"model": config.model.model_copy(update={"text": text})})
    refused(lambda: build(other, llama_files, clip_files, tmp_path), "k_proj", "give the section `model`")


def test_two_files_that_are_no_tower_and_its_q_former_are_refused(config, llama_files, clip_files, tmp_path):
    clip_files[LAVIS[1]].write_bytes(clip_files[LAVIS[0]].read_bytes())
    refused(
        lambda: build(config, llama_files, clip_files, tmp_path),
        *LAVIS,
        "not one file of a tower and one of its Q-Former",
    )


def test_what_a_pickle_holds_beside_its_tensors_is_accounted_for(config, llama_files, clip_files, files, tmp_path):  # noqa: F811
    torch.save({"model": files[1], "surprise": 1}, clip_files[LAVIS[1]])
    refused(lambda: build(config, llama_files, clip_files, tmp_path), "unknown", "surprise")
