"""Profiles that start from finished weights: ``init.from``, from ``download`` to the last stage."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.checkouts import new_root, run_step
from tests.promotion.worlds import cache_of, store
from tests.steps.profiles import Mine
from tinygptv.ground import materials, worktree
from tinygptv.ground.dvc import dvc_md5
from tinygptv.ground.files import read_json, sha256_file, write_json
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.model import adapters, assembly, stage_checkpoint
from tinygptv.model.folders import write_folder
from tinygptv.model.weights import backbone_digests, save_weights
from tinygptv.steps.init_from import init_digest
from tinygptv.tracking.client import Tracking

LINKED = {"image_encoder.safetensors", "language_model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, smoke, make_model, tokenizer) -> Path:
    """A checkout in which ``smoke`` has backbones and a stage 4, with adapters. Read only."""
    root = new_root(tmp_path_factory.mktemp("finished") / "checkout")
    model, folder = make_model(seed=5), root / "data" / "smoke" / "backbones"
    folder.mkdir(parents=True)
    save_weights(folder / "image_encoder.safetensors", model.image_encoder.state_dict())
    save_weights(folder / "language_model.safetensors", model.language_model.state_dict())
    tokenizer.save_pretrained(folder)
    write_json(folder / "vision_loss.json", [])
    digests, sizes = backbone_digests(folder), smoke.model.model_dump(mode="json")
    write_json(folder / "manifest.json", {"files": digests, "init": {}, "model": sizes})
    trained = assembly.assemble(smoke, folder, with_tower=False)
    adapters.add_lora(trained, smoke.model.lora)
    torch.manual_seed(3)
    for name, parameter in trained.named_parameters():
        if ".lora_B." in name or "final_layernorm.weight" in name:
            torch.nn.init.normal_(parameter)
    groups = smoke.stage4.trainable
    manifest = {
        "stage": "stage4",
        "parent": {"stage": "stage3", "sha256": "0"},
        "backbones": digests,
        "features": "0",
        "trainable": adapters.freeze(trained, groups).trainable,
        "seed": 7,
        "config": {"runtime": smoke.runtime.model_dump(mode="json"), "model": sizes},
        "environment": {},
        "changes": [],
    }
    (root / "data" / "smoke" / "stage4").mkdir()
    stage_checkpoint.save_stage(trained, root / "data" / "smoke" / "stage4", manifest, groups)
    return root


@pytest.fixture
def mine(finished, tmp_path, monkeypatch, capfd) -> Mine:
    return Mine(Path(shutil.copytree(finished, tmp_path / "checkout")), monkeypatch, capfd)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_profile_takes_the_backbones_of_another_and_nothing_is_pretrained(mine):
    mine.write("smoke")
    mine.run("download", "backbones")
    made, source = bytes_of(mine.data / "backbones"), bytes_of(mine.source / "backbones")
    assert made.keys() == LINKED | {"manifest.json", "environment.json"}
    assert {name: made[name] for name in LINKED} == {name: source[name] for name in LINKED}
    seen = read_json(mine.data / "download" / "init.json")
    assert seen == mine.manifest("backbones")["init"] == init_digest(mine.root, mine.config.init)
    assert seen["from"] == "smoke"
    assert len(seen["sha256"]) == 64


def test_without_a_stage_the_first_one_has_no_parent(mine):
    mine.write("smoke")
    mine.run("download", "backbones", *STAGES)
    assert mine.manifest("stage1")["parent"] is None
    assert {mine.manifest(stage)["sha256"] for stage in STAGES} == {mine.manifest("stage1")["sha256"]}
    assert all(mine.manifest(stage)["init"] == mine.manifest("backbones")["init"] for stage in STAGES)


def test_what_a_stage_left_goes_through_idle_stages_byte_for_byte(mine):
    mine.write("smoke/stage4")
    mine.run("download", "backbones", *STAGES)
    left = sha256_file(mine.source / "stage4" / "trained.safetensors")
    assert mine.manifest("stage1")["parent"] == {"stage": "init", "sha256": left}
    for stage in STAGES:
        assert sha256_file(mine.data / stage / "trained.safetensors") == left
        assert mine.manifest(stage)["init"] == {
            "from": "smoke/stage4",
            "sha256": mine.manifest("stage1")["init"]["sha256"],
        }
    model = assembly.assemble(mine.config, mine.data / "backbones", with_tower=False)
    stage_checkpoint.load_stage(model, mine.data / "stage4", "stage4", mine.config, mine.data / "backbones")
    assert adapters.has_lora(model)


@pytest.mark.parametrize(
    ("start", "file"),
    [
        ("smoke", "backbones/language_model.safetensors"),
        ("smoke", "backbones/tokenizer.json"),
        ("smoke/stage4", "stage4/trained.safetensors"),
        ("smoke/stage4", "backbones/image_encoder.safetensors"),
    ],
)
def test_another_content_is_another_digest_and_a_damaged_file_is_refused(mine, start, file):
    mine.write(start)
    mine.run("download", "backbones")
    before = read_json(mine.data / "download" / "init.json")
    path = mine.source / file
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.unlink()
    path.write_bytes(content)
    mine.refused("backbones", f"init.from: {start} is not what `download` has seen", "dvc repro")
    mine.run("download")
    assert read_json(mine.data / "download" / "init.json")["sha256"] != before["sha256"]
    mine.refused("backbones", Path(file).name)


def test_backbones_alone_do_not_depend_on_the_stages(mine):
    mine.write("smoke")
    before = init_digest(mine.root, mine.config.init)
    shutil.rmtree(mine.source / "stage4")
    assert init_digest(mine.root, mine.config.init) == before


@pytest.mark.parametrize(
    ("start", "key", "old", "new"),
    [
        ("smoke", "projection_size", None, 48),
        ("smoke/stage4", "text.num_attention_heads", 2, 1),
        ("smoke", "vision.patch_size", None, 16),
        ("smoke/stage4", "lora.alpha", 8, 16),
    ],
)
def test_other_sizes_are_one_line_that_names_the_keys(mine, start, key, old, new):
    section, _, name = key.rpartition(".")
    model = read_yaml(mine.root / "configs" / "smoke.yaml")["model"]
    (model[section] if section else model)[name] = new
    mine.write(start, model=model)
    mine.run("download")
    mine.refused("backbones", f"model.{key} ({old if old else ''}", f"here {new})", "give `model` its sizes")


def test_dropout_and_the_adapters_of_nobody_are_free(mine):
    model = read_yaml(mine.root / "configs" / "smoke.yaml")["model"]
    model["text"]["resid_pdrop"], model["lora"] = 0.3, {"rank": 2, "alpha": 3, "dropout": 0.5}
    mine.write("smoke", model=model)
    mine.run("download", "backbones")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("nix", ["nix has no backbones here", "--profile nix --to backbones"]),
        ("smoke/stage3", ["smoke has no stage3 here", "stage3"]),
        ("microsoft/phi-2", ["phi-2 does not exist", "`backbones: {source: hub}`"]),
        ("./data", ["data holds neither a model nor a step's output"]),
    ],
)
def test_what_is_not_there_is_one_line(mine, start, words):
    mine.write(start)
    mine.refused("download", "init.from", *words)


def test_outputs_of_an_older_version_without_sizes_say_so(mine):
    (mine.source / "backbones" / "manifest.json").unlink()
    mine.write("smoke")
    mine.run("download")
    mine.refused("backbones", "does not say its sizes", "repeat its step")
    mine.write("smoke/stage4")  # whose manifest has them
    mine.run("download", "backbones")


def test_folders_of_another_checkout_are_taken_as_well(mine, tmp_path):
    moved = tmp_path / "elsewhere"
    mine.source.rename(moved)
    mine.write(str(moved / "stage4"))
    mine.run("download", "backbones", "stage1")
    assert mine.manifest("stage1")["sha256"] == sha256_file(moved / "stage4" / "trained.safetensors")


def test_a_profile_of_its_own_worktree_is_found_from_the_others(mine):
    home = worktree.folder_of(mine.root, "smoke")
    (home / "data").mkdir(parents=True)
    mine.source.rename(home / "data" / "smoke")
    mine.write("smoke")
    mine.run("download", "backbones")
    other, seen = worktree.folder_of(mine.root, "nightly-mine"), []
    for start in ("smoke", "smoke/stage4", ".state/worktrees/smoke/data/smoke/stage4"):
        mine.write(start)
        seen.append(init_digest(mine.root, mine.config.init))
        assert init_digest(other, mine.config.init) == seen[-1]
    assert seen[1]["sha256"] == seen[2]["sha256"] != seen[0]["sha256"]


def test_an_imported_folder_is_taken(mine, make_model, processor):
    """The last stage's answers would be those of the folder: its weights are in backbones and the first checkpoint."""
    model = make_model(seed=9)
    write_folder(model, processor, mine.root / "imports" / "model", max_new_tokens=4)
    mine.write("imports/model")
    mine.run("download", "backbones", *STAGES)
    parts = {"image_encoder": model.image_encoder, "language_model": model.language_model}
    for name, part in parts.items():
        found = load_file(mine.data / "backbones" / f"{name}.safetensors")
        assert all(torch.equal(found[key], tensor) for key, tensor in part.state_dict().items())
    trained = load_file(mine.data / "stage4" / "trained.safetensors")
    assert trained.keys() == {f"projector.{key}" for key in model.projector.state_dict()}
    assert all(torch.equal(trained[f"projector.{key}"], tensor) for key, tensor in model.projector.state_dict().items())
    assert mine.manifest("stage1")["parent"]["stage"] == "init"
    (mine.root / "imports" / "model" / "note.txt").write_text("another file is another content")
    mine.refused("backbones", "is not what `download` has seen")


@pytest.fixture(scope="module")
def registry(finished, tmp_path_factory) -> Path:
    """Version 1 of `m` was made of the outputs of `smoke`; 2 does not say of what it was made."""
    root = tmp_path_factory.mktemp("registry")
    outputs = {step: dvc_md5(finished / "data" / "smoke" / step) for step in ("backbones", "stage4")}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = Tracking.connect(root).mlflow
        client.create_registered_model("m")
        for tags in ({"profile": "smoke", "record": json.dumps({"outputs": outputs})}, {}):
            client.create_model_version("m", str(finished), tags=tags)
        client.set_registered_model_alias("m", "champion", "1")
    return root / "mlflow.db"


@pytest.fixture
def registered(mine, registry, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(materials, "cache_folder", cache_of)
    for step in ("backbones", "stage4"):
        store(cache_of(mine.root), mine.source / step)
    with sqlite3.connect(registry) as before, sqlite3.connect(mine.root / "mlflow.db") as own:
        before.backup(own)
    return mine


@pytest.mark.parametrize("where", ["checkout", "cache"])
def test_a_registered_version_gives_what_it_was_made_of(registered, where):
    left = sha256_file(registered.source / "stage4" / "trained.safetensors")
    kept = bytes_of(registered.source / "backbones")
    if where == "cache":
        shutil.rmtree(registered.source)
    registered.write("models:/m@champion")
    registered.run("download", "backbones", "stage1")
    assert registered.manifest("stage1")["sha256"] == left
    made = bytes_of(registered.data / "backbones")
    assert {name: made[name] for name in LINKED} == {name: kept[name] for name in LINKED}
    assert not any(path.is_symlink() for path in (registered.data / "backbones").rglob("*"))
    seen = registered.manifest("stage1")["init"]
    registered.write("models:/m/1")
    assert init_digest(registered.root, registered.config.init)["sha256"] == seen["sha256"]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("models:/m/2", ["models:/m/2 is a package in 8 bits", "name the profile, folder or version"]),
        ("models:/m/3", ["m has no version 3"]),
        ("models:/m@previous", ["models:/m@previous is not in the registry"]),
        ("models:/m", ["an address is models:/<name>@<alias>"]),
    ],
)
def test_a_version_that_cannot_be_gone_on_from_is_one_line(registered, start, words):
    registered.write(start)
    registered.refused("download", *words)


def test_import_stage_makes_a_stage_of_this_project_one_of_another_profile(mine, capfd):
    """The next stage goes on from it; nothing of what made it is needed."""
    mine.write("smoke", idle=())
    assert mine.import_stage(mine.source / "stage4", "stage3") == 2
    assert "is a checkpoint of stage4, stage3 is needed here" in capfd.readouterr().err
    assert not mine.data.exists()
    assert mine.import_stage(mine.source / "stage4", "stage4") == 0
    for file in ("stage4/trained.safetensors", "stage4/manifest.json", "backbones/language_model.safetensors"):
        assert sha256_file(mine.data / file) == sha256_file(mine.source / file)
    config, backbones = mine.config, mine.data / "backbones"
    model = assembly.assemble(config, backbones, with_tower=False)
    stage_checkpoint.load_stage(model, mine.data / "stage4", "stage4", config, backbones)
    assert mine.manifest("backbones") == {**read_json(mine.source / "backbones" / "manifest.json"), "init": {}}


def test_what_a_version_was_made_of_may_be_gone(registered):
    shutil.rmtree(registered.source)
    shutil.rmtree(cache_of(registered.root))
    registered.write("models:/m/1")
    registered.run("download")
    registered.refused("backbones", "of backbones is not in DVC's cache", "dvc fetch --all-commits")


def test_without_the_section_there_is_nothing_to_start_from(mine):
    assert run_step(mine.root, "download", mine.patch) == 0
    assert read_json(mine.root / "data" / "smoke" / "download" / "init.json") == {}
