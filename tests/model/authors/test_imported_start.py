"""An imported model as what a profile starts from: backbones, and the projection and adapters that go on with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from tinygptv.config import Config, Lora
from tinygptv.config.profiles import Profile
from tinygptv.ground.errors import CheckpointError, DataError
from tinygptv.model import assembly, stage_checkpoint
from tinygptv.model.authors.folder import export, save_import
from tinygptv.model.authors.stage import export_stage
from tinygptv.model.init_files import take_imported

GOLDEN = Path(__file__).parents[2] / "golden"
MANIFEST = {"features": "", "seed": 7, "config": {}, "environment": {}, "changes": [], "init": {"from": "./x"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, imported) -> Path:
    out = tmp_path_factory.mktemp("import") / "model"
    save_import(imported[0], imported[1], out)
    return out


def opened(config: Config, backbones: Path):
    model = assembly.assemble(config, backbones, with_tower=True)
    manifest = stage_checkpoint.load_stage(model, backbones / "init", "init", config, backbones)
    return model.eval(), manifest


def answers(model, seed: int = 77):
    inputs = load_file(GOLDEN / "mg4_stage3_lora" / "inputs.safetensors")
    inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == -200, model.config.image_token_id)
    pixels_BCHW = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return model(**inputs, pixel_values=pixels_BCHW)


def test_training_begins_with_the_imported_model_bit_for_bit(folder, config, imported, tmp_path):
    take_imported(folder, tmp_path, MANIFEST, config)
    model, manifest = opened(config, tmp_path)
    found, expected = answers(model), answers(imported[0])
    assert_close(found.logits, expected.logits, rtol=0, atol=0)
    assert_close(found.loss, expected.loss, rtol=0, atol=0)
    assert (manifest.parent, manifest.trainable, manifest.groups) == (None, {}, ("projection", "lora"))
    assert manifest.init == {"from": "./x"}
    held = load_file(tmp_path / "init" / "trained.safetensors")
    assert sum(tensor.numel() for tensor in held.values()) == sum(manifest.held.values())
    assert all(tensor.dtype == torch.float32 for tensor in held.values())


def test_the_backbones_are_those_that_import_stage_writes(folder, config, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    take_imported(folder, taken, MANIFEST, config)
    export_stage(folder, tmp_path, "stage3", Profile("golden", 7, config))
    written = {path.name: path.read_bytes() for path in (tmp_path / "backbones").iterdir()}
    assert written.pop("manifest.json")  # which the step writes of what was taken
    assert {path.name: path.read_bytes() for path in taken.iterdir() if path.is_file()} == written


def test_a_plain_folder_has_its_adapters_merged(folder, config, imported, tmp_path):
    export(folder, tmp_path / "plain", "folder", 0.0)
    (tmp_path / "taken").mkdir()
    take_imported(tmp_path / "plain", tmp_path / "taken", MANIFEST, config)
    model, manifest = opened(config, tmp_path / "taken")
    assert manifest.groups == ("projection",)
    assert_close(answers(model).logits, answers(imported[0]).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"projection_size": 8}, r"model\.projection_size \(\d+, here 8\); give `model` its sizes"),
        ({"lora": Lora(rank=8, alpha=16, dropout=0.0)}, r"model\.lora\.rank \(4, here 8\)"),
        ({"lora": Lora(rank=4, alpha=8, dropout=0.0)}, r"model\.lora\.alpha \(16, here 8\)"),
    ],
)
def test_other_sizes_and_adapters_are_refused(folder, config, tmp_path, changes, message):
    other = config.model_copy(update={"model": config.model.model_copy(update=changes)})
    with pytest.raises(CheckpointError, match=message):
        take_imported(folder, tmp_path, MANIFEST, other)


@pytest.mark.parametrize(
    ("section", "key"),
    [("text", "num_hidden_layers"), ("vision", "num_attention_heads"), ("qformer", "num_query_tokens")],
)
def test_a_differing_key_is_named(folder, config, tmp_path, section, key):
    part = getattr(config.model, section)
    changed = part.model_copy(update={key: 2 * getattr(part, key)})
    other = config.model_copy(update={"model": config.model.model_copy(update={section: changed})})
    with pytest.raises(CheckpointError, match=rf"model\.{section}\.{key} \(\d+, here {getattr(changed, key)}\)"):
        take_imported(folder, tmp_path, MANIFEST, other)


def test_a_tensor_of_nothing_is_refused(folder, config, tmp_path):
    export(folder, tmp_path / "plain", "folder", 0.0)
    path = tmp_path / "plain" / "model.safetensors"
    save_file(load_file(path) | {"third_eye.weight": torch.zeros(2)}, path, {"format": "pt"})
    (tmp_path / "plain" / "digests.json").unlink()
    with pytest.raises(CheckpointError, match=r"no part of the model: third_eye\.weight"):
        take_imported(tmp_path / "plain", tmp_path, MANIFEST, config)


def test_a_model_in_8_bits_is_refused(folder, config, tmp_path):
    export(folder, tmp_path / "small", "8bit", 0.0)
    with pytest.raises(CheckpointError, match="is in 8 bits, which cannot be undone; take the model"):
        take_imported(tmp_path / "small", tmp_path, MANIFEST, config)


def test_a_damaged_folder_is_refused(imported, config, tmp_path):
    save_import(imported[0], imported[1], tmp_path / "model")
    content = bytearray((tmp_path / "model" / "authors.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model" / "authors.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"authors\.safetensors was changed"):
        take_imported(tmp_path / "model", tmp_path, MANIFEST, config)
