"""The step ``backbones`` with published files, run as a user runs it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    PhiConfig,
    PhiForCausalLM,
)

from tinygptv.ground.files import sha256_file
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.model.upstream.pins import COMMAND, PINS

LANGUAGE_MODEL, IMAGE_ENCODER, REVISION = "somebody/phi", "somebody/blip2", "a" * 40
PUBLISHED = {"source": "hub", "language_model": LANGUAGE_MODEL, "image_encoder": IMAGE_ENCODER, "folder": "weights"}


@pytest.fixture(scope="module")
def weights(smoke, tokenizer, tmp_path_factory):
    """Two repositories in the sizes of the smoke profile, made by transformers' own classes. Read only."""
    folder, model = tmp_path_factory.mktemp("weights"), smoke.model
    for name in (LANGUAGE_MODEL, IMAGE_ENCODER):
        (folder / name).mkdir(parents=True)
    text = model.text.model_dump(exclude={"qk_norm", "rms_norm"})
    save_file(PhiForCausalLM(PhiConfig(**text)).state_dict(), folder / LANGUAGE_MODEL / "model.safetensors")
    tokenizer.backend_tokenizer.save(str(folder / LANGUAGE_MODEL / "tokenizer.json"))
    vision, qformer = model.vision.model_dump(exclude={"tower"}), model.qformer.model_dump(exclude={"num_query_tokens"})
    parts = {
        "vision_model": Blip2VisionModel(Blip2VisionConfig(**vision)),
        "qformer": Blip2QFormerModel(Blip2QFormerConfig(**qformer, encoder_hidden_size=vision["hidden_size"])),
    }
    tensors = {f"{part}.{name}": tensor for part, made in parts.items() for name, tensor in made.state_dict().items()}
    tensors["query_tokens"] = torch.randn(1, model.qformer.num_query_tokens, qformer["hidden_size"])
    save_file(tensors, folder / IMAGE_ENCODER / "model.safetensors")
    return folder


def configure(checkout, section):
    content = read_yaml(checkout.config_path) | {"backbones": section}
    YAML().dump(content, checkout.config_path)


@pytest.fixture
def published(shards_checkout, weights):
    """A checkout whose profile takes these, from a folder in it, pinned."""
    configure(shards_checkout, PUBLISHED)
    shutil.copytree(weights, shards_checkout.root / "weights")
    pins = {
        name: {
            "revision": REVISION,
            "files": {
                path.name: {"size": path.stat().st_size, "sha256": sha256_file(path)}
                for path in (weights / name).iterdir()
            },
        }
        for name in (LANGUAGE_MODEL, IMAGE_ENCODER)
    }
    (shards_checkout.root / PINS).write_text(json.dumps(pins))
    return shards_checkout


def test_the_files_are_those_of_the_stand_ins_and_the_next_step_takes_them(published, with_stage1, run):
    assert run(published, "backbones") == 0
    made = {path.name for path in (published.data / "backbones").iterdir()}
    pretrained = {path.name for path in (with_stage1.data / "backbones").iterdir()}
    assert made == {name for name in pretrained if not name.endswith("_loss.json")} | {"environment.json"}
    assert run(published, "features") == 0
    before = published.outputs()
    assert run(published, "backbones") == 0
    assert published.outputs() == before


def test_published_backbones_depend_on_no_shard(published, shards_checkout, run):
    """The view that DVC compares is the same whatever is in the shards; of the stand-ins it has the training shards."""
    view = published.data / "shards" / "views" / "backbones.json"
    assert run(published, "shards") == 0
    before = view.read_bytes()
    published.edit(f"val: {published.config.data['easy_vqa'].split['val']}", "val: 0.35")
    shards = (published.data / "shards" / "summary.json").read_bytes()
    assert run(published, "shards") == 0
    assert view.read_bytes() == before
    assert (published.data / "shards" / "summary.json").read_bytes() != shards


def test_stand_ins_depend_on_the_training_shards(shards_checkout):
    shards = shards_checkout.data / "shards"
    summary = json.loads((shards / "easy_vqa" / "summary.json").read_bytes())
    told = json.loads((shards / "views" / "backbones.json").read_bytes())
    blocks = {tar: digest for tar, digest in summary["digests"].items() if tar.startswith("train-")}
    assert blocks and told == {"easy_vqa": {"train": {"index": summary["indexes"]["train"], "blocks": blocks}}}


def test_changed_weights_are_refused(published, refused):
    path = published.root / "weights" / LANGUAGE_MODEL / "model.safetensors"
    expected = sha256_file(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused(published, "backbones", expected, sha256_file(path), str(path))


def test_an_unpinned_source_is_refused(published, refused):
    lock = json.loads((published.root / PINS).read_text())
    lock[IMAGE_ENCODER]["revision"] = None
    (published.root / PINS).write_text(json.dumps(lock))
    refused(published, "backbones", f"does not pin {IMAGE_ENCODER} (revision)", COMMAND)


def test_without_folder_and_network_one_line_says_what_to_put_where(published, refused, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    configure(published, PUBLISHED | {"folder": ""})
    place = published.root / ".state" / "upstream" / LANGUAGE_MODEL / REVISION
    error = refused(published, "backbones", f"model.safetensors, tokenizer.json of {LANGUAGE_MODEL}", str(place))
    assert IMAGE_ENCODER in error


def test_missing_files_of_the_folder_are_listed(published, refused):
    (published.root / "weights" / LANGUAGE_MODEL / "tokenizer.json").unlink()
    shutil.rmtree(published.root / "weights" / IMAGE_ENCODER)
    refused(published, "backbones", "tokenizer.json of", f"model.safetensors of {IMAGE_ENCODER}", "backbones.folder")
