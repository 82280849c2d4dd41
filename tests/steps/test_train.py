"""Training steps through their entry point: stopping, going on, and what a stage refuses to begin from."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from safetensors.torch import load_file, save_file

from tinygptv.data.batches import StageBatches
from tinygptv.ground.files import sha256_file, write_json
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


@pytest.mark.drill(3, "SIGTERM within a step")
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
    points = sorted(path.name for path in (checkout.state / "stage1").glob("*/*"))
    assert points[-1] == f"step-{step:08d}"
    assert len(points) <= resume.KEPT

    assert run(checkout, "stage1") == 0
    assert f"stage1: going on after step {step}\n" in capfd.readouterr().out
    assert not (checkout.state / "stage1").exists()
    for name in ("trained.safetensors", "history.json", "trace.jsonl", "manifest.json"):
        again, once = checkout.data / "stage1" / name, with_stage1.data / "stage1" / name
        assert again.read_bytes() == once.read_bytes(), name


def goes_on_with_the_same_bytes(checkout, run, capfd, between=lambda: None):
    """Stage 2 once whole, and once stopped in the middle."""
    assert run(checkout, "stage2") == 0
    between()
    once = sha256_file(checkout.data / "stage2" / "trained.safetensors")
    shutil.rmtree(checkout.data / "stage2")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 7)
        assert run(checkout, "stage2") == 143
    between()
    assert run(checkout, "stage2") == 0
    assert "going on after step 7" in capfd.readouterr().out
    assert sha256_file(checkout.data / "stage2" / "trained.safetensors") == once


def test_a_stage_with_adapters_goes_on_with_the_same_bytes(checkout, run, capfd):
    goes_on_with_the_same_bytes(checkout, run, capfd)
    manifest = json.loads((checkout.data / "stage2" / "manifest.json").read_bytes())
    parent = sha256_file(checkout.data / "stage1" / "trained.safetensors")
    assert manifest["parent"] == {"stage": "stage1", "sha256": parent}
    assert manifest["trainable"].keys() == set(checkout.config.stage2.trainable)


@pytest.mark.drills
@pytest.mark.drill(3, "SIGTERM within a step of a stage whose blocks are compiled and whose samples lie in one row")
def test_a_compiled_stage_goes_on_with_the_same_bytes(checkout, run, capfd):
    """In between the compiler forgets all but what lies on disk, as in another process."""
    import torch

    checkout.edit("compile: false", "compile: true")
    checkout.edit("packing: false", "packing: true")
    goes_on_with_the_same_bytes(checkout, run, capfd, between=torch._dynamo.reset)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", ["false", "true"])
@pytest.mark.parametrize("base_8bit", ["false", "true"])
def test_a_stage_stopped_on_a_gpu_goes_on_with_the_same_bytes(checkout, run, capfd, base_8bit, compiled):
    checkout.edit("device: cpu", "device: cuda")
    checkout.edit("base_8bit: false", f"base_8bit: {base_8bit}")
    checkout.edit("compile: false", f"compile: {compiled}")
    checkout.edit("packing: false", f"packing: {compiled}")
    goes_on_with_the_same_bytes(checkout, run, capfd)


def stopped(checkout, run, capfd, step=5):
    """Stage 1 was stopped and has a resume point."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, step)
        assert run(checkout, "stage1") == 143
    capfd.readouterr()


def change_the_configuration(checkout):
    checkout.edit("weight_decay: 0.05", "weight_decay: 0.04")


def change_the_seed(checkout):
    (checkout.root / "params.yaml").write_text("profile: smoke\nseed: 8\n")


def change_the_data(checkout):
    path = checkout.data / "shards" / "views" / "stage1.json"
    path.write_text(path.read_text() + " ")


def change_the_code(checkout):
    """As if the stage had been trained by another version of the loop."""
    graph = checkout.root / "dvc.yaml"
    content = graph.read_text()
    assert content.count("src/tinygptv/training,") == 1
    graph.write_text(content.replace("src/tinygptv/training,", "src/tinygptv/ground/files.py,"))


CHANGES = {
    "config.stage1.weight_decay (0.05 -> 0.04)": change_the_configuration,
    "seed (7 -> 8)": change_the_seed,
    "shards (": change_the_data,
    "code.tinygptv/training/loop.py (": change_the_code,
}


@pytest.mark.drill(11, "going on under another configuration, data, parent or code")
@pytest.mark.parametrize("words", CHANGES)
def test_a_resume_point_of_another_run_is_refused_key_by_key(checkout, run, capfd, words):
    stopped(checkout, run, capfd)
    CHANGES[words](checkout)
    run(checkout, "stage1")
    out = capfd.readouterr().out
    assert "resume point step-00000005 is of another run and is not used" in out
    assert words in out
    assert "going on" not in out


@pytest.mark.drill(11, "going on under another configuration, data, parent or code")
def test_a_resume_point_with_another_parent_is_refused(checkout, run, capfd):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 5)
        assert run(checkout, "stage2") == 143
    folder = checkout.data / "stage1"
    tensors = load_file(folder / "trained.safetensors")
    tensors["projector.linear_1.bias"] += 1
    save_file(tensors, folder / "trained.safetensors")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    write_json(folder / "manifest.json", manifest | {"sha256": sha256_file(folder / "trained.safetensors")})
    capfd.readouterr()
    assert run(checkout, "stage2") == 0
    assert "is not used: parent.sha256 (" in capfd.readouterr().out


@pytest.mark.drill(11, "going on under another configuration, data, parent or code")
def test_a_change_that_is_allowed_is_on_record(checkout, run, capfd):
    stopped(checkout, run, capfd)
    checkout.edit("log_every: 3", "log_every: 4")
    recorded = checkout.config.stage1.log_every
    assert run(checkout, "stage1", "--allow-changed", "config.stage1.log_every") == 0
    assert "going on after step 5" in capfd.readouterr().out
    manifest = json.loads((checkout.data / "stage1" / "manifest.json").read_bytes())
    (change,) = manifest["changes"]
    assert change.startswith("after step 5: config.stage1.log_every (")
    assert change.endswith(f" -> {recorded})")


def test_only_stages_have_resume_points_to_allow(checkout, run, capfd):
    with pytest.raises(SystemExit):
        run(checkout, "shards", "--allow-changed", "seed")
    assert "shards has no resume points" in capfd.readouterr().err


def test_a_stage_with_an_earlier_stage_missing(checkout, refused):
    refused(checkout, "stage3", "stage2 is missing", "dvc repro stage2")


@pytest.mark.drill(23, "a stage fed another stage's or another data's checkpoint: refused")
def test_another_stage_in_the_parent_s_place(checkout, refused):
    shutil.copytree(checkout.data / "stage1", checkout.data / "stage2")
    refused(checkout, "stage3", "data/smoke/stage2 is a checkpoint of stage1, stage2 is needed")


@pytest.mark.drill(23, "a stage fed another stage's or another data's checkpoint: refused")
def test_a_parent_trained_on_another_tokenizer(checkout, refused):
    """The file is another, though the vocabulary may be the same: the ids could mean other texts."""
    path = checkout.data / "backbones" / "tokenizer.json"
    content = json.loads(path.read_bytes())
    vocabulary = content["model"]["vocab"]
    one, two = sorted(vocabulary)[100:102]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    write_json(path, content)
    refused(checkout, "stage2", "stage1 was trained with another tokenizer.json", "repeat stage1")


@pytest.mark.drill(23, "a stage fed another stage's or another data's checkpoint: refused")
def test_a_parent_trained_on_other_backbones(checkout, refused):
    path = checkout.data / "backbones" / "language_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    refused(checkout, "stage2", "stage1 was trained with another language_model.safetensors", "repeat stage1")


@pytest.mark.drill(23, "a stage fed another stage's or another data's checkpoint: refused")
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


@pytest.mark.drill(23, "a stage fed another stage's or another data's checkpoint: refused")
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
def test_damaged_features(checkout, refused, damage):
    path = min((checkout.data / "features" / "32" / "easy_vqa").glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "missing":
        path.unlink()
        refused(checkout, "stage1", f"{path} is missing", "dvc repro -f -s features")
        return
    path.write_bytes(content if damage == "flipped" else content[:3000])
    refused(checkout, "stage1", str(path), "dvc checkout", "dvc repro -f -s features")


@pytest.mark.parametrize("part", ["train-000000.tar", "train.arrow"])
def test_damaged_shards_under_training(checkout, refused, part):
    path = checkout.data / "shards" / "easy_vqa" / part
    path.write_bytes(path.read_bytes()[:5000])
    refused(checkout, "stage1", str(path), "is damaged", "dvc checkout")


@pytest.mark.parametrize("way", ["cached", "in_loop"])
def test_a_missing_tar_is_found_before_the_first_step(checkout, refused, monkeypatch, way):
    checkout.edit("features: cached", f"features: {way}")
    monkeypatch.setattr(StageBatches, "batch", lambda *_: pytest.fail("a step has begun"))
    path = checkout.data / "shards" / "easy_vqa" / "train-000000.tar"
    path.unlink()
    refused(checkout, "stage1", f"{path} is missing", "dvc checkout")


def test_features_of_a_block_that_the_shards_no_longer_have(checkout, refused):
    """As after a change of the shards that `features` has not seen: one line, before the first step."""
    path = checkout.data / "features" / "views" / "stage1.json"
    view = json.loads(path.read_bytes())
    del view["sets"]["easy_vqa"]["1"]
    write_json(path, view)
    refused(checkout, "stage1", "train-000001.safetensors is not of the shards that are there", "dvc repro features")


@pytest.mark.parametrize("step", ["shards", "features"])
def test_a_view_is_missing(checkout, refused, step):
    path = checkout.data / step / "views" / "stage1.json"
    path.unlink()
    refused(checkout, "stage1", f"{path} is missing", f"dvc repro {step}")


def test_a_loss_that_is_not_finite_stops_the_stage(checkout, refused, monkeypatch):
    from tinygptv.training import step

    compute = step.batch_loss
    monkeypatch.setattr(step, "batch_loss", lambda *arguments, **how: compute(*arguments, **how) * float("nan"))
    refused(checkout, "stage1", "step 1:", "not finite", "Records of the batch: train-")


def test_the_context_knows_the_profile(checkout):
    assert checkout.config.stage1.steps == 12
    assert StepContext.__dataclass_fields__.keys() >= {"step", "profile", "root", "run", "stop", "staging"}
