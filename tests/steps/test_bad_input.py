"""What a user can get wrong before training: each is one line that names the thing and the fix, exit code 2."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

CONFIGURATION = {
    "unknown key": ("  max_rejected: 0.001", "  max_rejected: 0.001\n  shufle: 3", "unknown key `shards.shufle`"),
    "unknown section": ("shards:", "sharts: {}\n\nshards:", "unknown key `sharts`"),
    "mistyped key": ("images_per_shard: 16", "images_per_shards: 16", "`shards.images_per_shard"),
    "missing key": ("  images_per_shard: 16\n", "", "key `shards.images_per_shard` is missing"),
    "text for a number": ("images_per_shard: 16", "images_per_shard: many", "key `shards.images_per_shard` is 'many'"),
    "number in quotes": ("images_per_shard: 16", "images_per_shard: '8'", "key `shards.images_per_shard` is '8'"),
    "fraction for a count": ("images_per_shard: 16", "images_per_shard: 8.5", "key `shards.images_per_shard` is 8.5"),
    "whole fraction for a count": (
        "images_per_shard: 16",
        "images_per_shard: 8.0",
        "key `shards.images_per_shard` is 8.0",
    ),
    "truth for a count": ("images_per_shard: 16", "images_per_shard: true", "key `shards.images_per_shard` is True"),
    "nothing for a count": ("images_per_shard: 16", "images_per_shard:", "key `shards.images_per_shard` is None"),
    "zero for a count": ("images_per_shard: 16", "images_per_shard: 0", "key `shards.images_per_shard` is 0"),
    "number for a truth": ("deterministic: true", "deterministic: 1", "key `runtime.deterministic` is 1"),
    "no such choice": ("device: cpu", "device: gpu", "key `runtime.device` is 'gpu'"),
    "share above one": ("max_rejected: 0.001", "max_rejected: 1.5", "key `shards.max_rejected` is 1.5"),
    "not a number": ("max_rejected: 0.001", "max_rejected: .nan", "key `shards.max_rejected` is nan"),
    "no such task": (
        "mixture: {easy_vqa/caption: 1.0}",
        "mixture: {easy_vqa/captions: 1.0}",
        "no instructions are called 'captions'",
    ),
    "micro-batch": ("micro_batch_size: 4", "micro_batch_size: 3", "stage1.micro_batch_size: 3 does not divide"),
    "odd rotary": ("rotary_factor: 0.4", "rotary_factor: 0.2", "model.text.partial_rotary_factor: 0.2 of 16 channels"),
    "template": ('"###Human: {} ###', '"###Human: ###', "template: '###Human: ### Assistant"),
    "empty end mark": ('end_mark: "###"', 'end_mark: ""', "end_mark: must not be empty"),
    "empty mixture": ("mixture: {easy_vqa/caption: 1.0}", "mixture: {}", "stage1.mixture: names no data set"),
    "nothing trains": (
        "trainable: [projection, input_norm, qk_norm, rms_norm, final_norm]\n",
        "trainable: []\n",
        "stage1.trainable: names no part",
    ),
    "part of a norm that is not there": ("qk_norm: true", "qk_norm: false", "stage1.trainable: names qk_norm, but"),
    "data set that is not there": (
        "mixture: {easy_vqa/caption: 1.0}",
        "mixture: {gqa: 1.0}",
        "stage1.mixture: names the data set gqa",
    ),
    "table of batch sizes": (
        "  batch_size: 8\n  micro",
        "  batch_size: {vqa: 4}\n  micro",
        "batch_size: a table needs the entries of the",
    ),
    "format": ("format: easy_vqa", "format: vqqa", "data.easy_vqa.format: 'vqqa' is not known"),
    "not YAML": ("runtime:", "runtime: [", "configs/smoke.yaml is not valid YAML"),
    "key twice": ("device: cpu", "device: cpu\n  device: cpu", "configs/smoke.yaml is not valid YAML"),
    "tab": ("  device: cpu", "\tdevice: cpu", "configs/smoke.yaml is not valid YAML"),
}


@pytest.mark.parametrize("case", CONFIGURATION)
def test_configuration(shards_checkout, refused, case):
    old, new, named = CONFIGURATION[case]
    shards_checkout.edit(old, new)
    refused(shards_checkout, "shards", str(shards_checkout.config_path), named.replace("### Assistant", "###Assistant"))


def test_a_configuration_that_holds_no_sections(shards_checkout, refused):
    for content in ("", "- a\n", "text\n"):
        shards_checkout.config_path.write_text(content)
        refused(shards_checkout, "shards", str(shards_checkout.config_path), "must hold sections")


def test_a_configuration_that_is_not_text(shards_checkout, refused):
    shards_checkout.config_path.write_bytes(b"\xff\xfe\x00")
    refused(shards_checkout, "shards", "configs/smoke.yaml is not valid YAML")


def test_missing_profile(shards_checkout, refused):
    shards_checkout.config_path.rename(shards_checkout.config_path.with_name("other.yaml"))
    refused(shards_checkout, "shards", "configs/smoke.yaml does not exist", "profiles are other")


@pytest.mark.parametrize(
    "content",
    ["profile: smoke\n", "profile: smoke\nseed: 7\nsize: 3\n", "profile: smoke\nsead: 7\n", "", "- smoke\n"],
)
def test_params_with_other_keys(shards_checkout, refused, content):
    (shards_checkout.root / "params.yaml").write_text(content)
    refused(shards_checkout, "shards", "params.yaml must hold exactly the keys `profile` and `seed`")


@pytest.mark.parametrize("seed", ["seven", "7.0", "true", "-1", "'7'", ""])
def test_a_seed_that_is_no_whole_number(shards_checkout, refused, seed):
    (shards_checkout.root / "params.yaml").write_text(f"profile: smoke\nseed: {seed}\n")
    refused(shards_checkout, "shards", "params.yaml: seed must be a whole number")


def test_the_real_command_line(shards_checkout, start):
    before = shards_checkout.outputs()
    shards_checkout.edit("images_per_shard: 16", "images_per_shard: many")
    process = start(shards_checkout, "shards")
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert error.startswith(f"shards: {shards_checkout.config_path}: key `shards.images_per_shard` is 'many'")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert shards_checkout.outputs() == before


@pytest.mark.parametrize(
    ("step", "missing"),
    [
        ("shards", "download"),
        ("backbones", "shards/views/backbones.json"),
        ("features", "backbones/image_encoder.safetensors"),
        ("stage1", "backbones"),
    ],
)
def test_a_step_before_has_not_run(shards_checkout, refused, step, missing):
    before = missing.partition("/")[0]
    shutil.rmtree(shards_checkout.data / before, ignore_errors=True)
    refused(shards_checkout, step, f"data/smoke/{missing} is missing; run `dvc repro {before}` first")


@pytest.mark.parametrize("step", ["evaluate", "quantize", "register"])
def test_a_late_step_on_an_early_checkout(checkout, refused, step):
    refused(checkout, step, "missing; run")


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[:5000]
    elif how == "cut near the end":
        content = content[:-1100]
    elif how == "flipped":
        content[len(content) // 2] ^= 4
    elif how == "image":
        place = content.index(b"IDAT") + 20
        content[place : place + 8] = bytes(8)
    elif how == "empty":
        content = bytearray()
    path.write_bytes(content)


@pytest.mark.drill(14, "a step on damaged shards: refused in one line")
@pytest.mark.parametrize("how", ["cut", "cut near the end", "flipped", "image", "empty"])
def test_a_damaged_shard(checkout, refused, how):
    path = sorted((checkout.data / "shards").glob("*/train-*.tar"))[0]
    damage(path, how)
    refused(checkout, "features", str(path), "dvc checkout", "dvc repro -f -s shards")


def test_raw_files_that_are_not_those_of_the_download(shards_checkout, refused):
    path = shards_checkout.root / "raw" / "train" / "images" / "3.png"
    before = path.stat().st_size
    with Image.open(path) as image:
        image.quantize(64).convert("RGB").save(path, optimize=True)
    assert path.stat().st_size < before
    shutil.rmtree(shards_checkout.state / "blocks")
    refused(shards_checkout, "shards", "3.png", "is not what `download` saw", "dvc repro download")


def test_too_many_rejected_records(shards_checkout, refused):
    path = shards_checkout.root / "raw" / "train" / "questions.json"
    path.write_text(json.dumps([*json.loads(path.read_bytes()), ["what shape is present?", "", 3]]))
    refused(shards_checkout, "shards", "1 of 757 records rejected", "answer is empty", "max_rejected", "all are listed")


def test_another_data_set_than_the_recorded_one(shards_checkout, refused):
    recorded = shards_checkout.config.data["easy_vqa"].sha256
    shards_checkout.edit(recorded, "4673" + recorded[4:])
    refused(shards_checkout, "download", recorded, "4673" + recorded[4:])


def test_a_tokenizer_that_the_model_has_no_embeddings_for(checkout, refused):
    path = checkout.data / "backbones" / "tokenizer.json"
    content = json.loads(path.read_bytes())
    highest = max(content["model"]["vocab"].values())
    content["model"]["vocab"] |= {f"new{n}": n for n in range(highest + 1, 1100)}
    path.write_text(json.dumps(content))
    refused(checkout, "stage1", "the tokenizer has", "the model 1024 embeddings: it belongs to other weights")


@pytest.mark.drill(26, "CUDA asked for where there is none: one line with the fix")
def test_cuda_where_there_is_none(checkout, refused, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    checkout.edit("device: cpu", "device: cuda")
    refused(checkout, "features", "runtime.device is cuda, but torch sees no CUDA device; set it to auto or cpu")
