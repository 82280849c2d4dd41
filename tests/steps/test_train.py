"""Training steps through their entry point: stopping, going on, and what a stage refuses to begin from."""

from __future__ import annotations

import json
import shutil
import signal

import pytest

from tinygptv.files import sha256_file, write_json
from tinygptv.steps.harness import StepContext
from tinygptv.training import resume


def stop_after(monkeypatch, step):
    """As if SIGTERM arrived while a step computes: the flag is set before the step's end is looked at."""
    from tinygptv.training import loop

    compute = loop.optimizer_step

    def optimizer_step(state, *arguments):
        result = compute(state, *arguments)
        if state.step + 1 == step:
            signal.raise_signal(signal.SIGTERM)
        return result

    monkeypatch.setattr(loop, "optimizer_step", optimizer_step)


@pytest.mark.parametrize("step", [5, 8])
def test_a_stopped_stage_goes_on_and_ends_with_the_same_bytes(checkout, with_stage1, run, capfd, step):
    """Stage 1 has dropout, so the random state counts; step 5 lies between checkpoints, step 8 on one."""
    shutil.rmtree(checkout.data / "stage1")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, step)
        assert run(checkout, "stage1") == 143
    error = capfd.readouterr().err
    assert error == "stage1: stopped by SIGTERM; run the command again to go on\n"
    assert not (checkout.data / "stage1").exists()
    points = sorted(path.name for path in (checkout.state / "stage1").iterdir())
    assert points[-1] == f"step-{step:08d}"
    assert len(points) <= resume.KEPT

    assert run(checkout, "stage1") == 0
    assert f"stage1: going on after step {step}\n" in capfd.readouterr().out
    assert not (checkout.state / "stage1").exists()
    for name in ("trained.safetensors", "history.json", "manifest.json"):
        again, once = checkout.data / "stage1" / name, with_stage1.data / "stage1" / name
        assert again.read_bytes() == once.read_bytes(), name


def test_a_stage_with_adapters_goes_on_with_the_same_bytes(checkout, run, capfd):
    assert run(checkout, "stage2") == 0
    once = sha256_file(checkout.data / "stage2" / "trained.safetensors")
    shutil.rmtree(checkout.data / "stage2")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 7)
        assert run(checkout, "stage2") == 143
    assert run(checkout, "stage2") == 0
    assert "going on after step 7" in capfd.readouterr().out
    assert sha256_file(checkout.data / "stage2" / "trained.safetensors") == once
    manifest = json.loads((checkout.data / "stage2" / "manifest.json").read_bytes())
    parent = sha256_file(checkout.data / "stage1" / "trained.safetensors")
    assert manifest["parent"] == {"stage": "stage1", "sha256": parent}
    assert manifest["trainable"].keys() == set(checkout.config.stage2.trainable)


def test_a_resume_point_of_another_configuration_is_passed_over(checkout, run, capfd):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 5)
        assert run(checkout, "stage1") == 143
    checkout.edit("weight_decay: 0.05", "weight_decay: 0.04")
    capfd.readouterr()
    assert run(checkout, "stage1") == 0
    out = capfd.readouterr().out
    assert "passed over: config.stage1.weight_decay (0.05 -> 0.04)" in out
    assert "going on" not in out


def test_a_stage_with_an_earlier_stage_missing(checkout, refused):
    refused(checkout, "stage3", "stage2 is missing", "dvc repro stage2")


def test_another_stage_in_the_parent_s_place(checkout, refused):
    shutil.copytree(checkout.data / "stage1", checkout.data / "stage2")
    refused(checkout, "stage3", "data/smoke/stage2 is a checkpoint of stage1, stage2 is needed")


def test_a_parent_trained_on_another_tokenizer(checkout, refused):
    """The file is another, though the vocabulary may be the same: the ids could mean other texts."""
    path = checkout.data / "backbones" / "tokenizer.json"
    content = json.loads(path.read_bytes())
    vocabulary = content["model"]["vocab"]
    one, two = sorted(vocabulary)[100:102]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    write_json(path, content)
    refused(checkout, "stage2", "stage1 was trained with another tokenizer.json", "repeat stage1")


def test_a_parent_trained_on_other_backbones(checkout, refused):
    path = checkout.data / "backbones" / "language_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    refused(checkout, "stage2", "stage1 was trained with another language_model.safetensors", "repeat stage1")


def test_features_of_another_image_encoder(checkout, refused):
    path = checkout.data / "backbones" / "image_encoder.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    refused(checkout, "stage1", "features come from another image encoder", "dvc repro features")


def test_a_backbone_of_other_sizes(checkout, refused):
    checkout.edit("vocab_size: 1024", "vocab_size: 1000")
    refused(checkout, "stage1", "language_model.safetensors does not fit the configuration's model", "repeat its step")


@pytest.mark.parametrize("name", ["image_encoder.safetensors", "language_model.safetensors", "tokenizer.json"])
def test_a_backbone_file_is_missing(checkout, refused, name):
    (checkout.data / "backbones" / name).unlink()
    refused(checkout, "stage1", f"backbones/{name} is missing", "dvc repro backbones")


def test_damaged_language_model(checkout, refused):
    path = checkout.data / "backbones" / "language_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(checkout, "stage1", "language_model.safetensors is damaged", "repeat its step")


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_damaged_checkpoint_of_the_parent(checkout, refused, damage):
    path = checkout.data / "stage1" / "trained.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if damage != "missing":
        path.write_bytes(content if damage == "flipped" else content[:-10])
    refused(checkout, "stage2", "stage1/trained.safetensors is missing or not the file of its manifest", "dvc checkout")


@pytest.mark.parametrize("change", ["more", "fewer"])
def test_a_manifest_of_another_version(checkout, refused, change):
    path = checkout.data / "stage1" / "manifest.json"
    content = json.loads(path.read_bytes())
    if change == "more":
        content["new"] = 1
    else:
        del content["seed"]
    write_json(path, content)
    refused(checkout, "stage2", "stage1/manifest.json has other keys", "repeat stage1")


def test_a_manifest_that_is_not_an_object(checkout, refused):
    (checkout.data / "stage1" / "manifest.json").write_text("[]")
    refused(checkout, "stage2", "stage1/manifest.json", "repeat stage1")


@pytest.mark.parametrize("content", ["", "{", "[1"])
def test_a_manifest_that_is_not_json(checkout, refused, content):
    (checkout.data / "stage1" / "manifest.json").write_text(content)
    refused(checkout, "stage2", "stage1/manifest.json is not valid JSON")


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_damaged_feature_shard(checkout, refused, damage):
    path = sorted((checkout.data / "features" / "32").glob("*.tar"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "missing":
        path.unlink()
        refused(checkout, "stage1", "no features of image", "dvc repro features")
        return
    path.write_bytes(content if damage == "flipped" else content[:3000])
    refused(checkout, "stage1", str(path), "dvc checkout", "dvc repro -f -s features")


def test_damaged_shard_under_training(checkout, refused):
    path = sorted((checkout.data / "shards").glob("train-*.tar"))[0]
    path.write_bytes(path.read_bytes()[:5000])
    refused(checkout, "stage1", str(path), "cut off", "dvc checkout")


def test_no_training_shards(checkout, refused):
    for path in (checkout.data / "shards").glob("train-*.tar"):
        path.unlink()
    refused(checkout, "features", "data/smoke/shards holds no train-*.tar", "dvc repro shards")


def test_a_loss_that_is_not_finite_stops_the_stage(checkout, refused, monkeypatch):
    from tinygptv.training import loop

    compute = loop.batch_loss
    monkeypatch.setattr(loop, "batch_loss", lambda *arguments, **how: compute(*arguments, **how) * float("nan"))
    refused(checkout, "stage1", "step 1:", "not finite", "Records of the batch: train-")


def test_the_context_knows_the_profile(checkout):
    assert checkout.config.stage1.steps == 12
    assert StepContext.__dataclass_fields__.keys() >= {"step", "profile", "root", "run", "stop", "staging"}
