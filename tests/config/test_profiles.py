"""Profiles: every committed one is valid, and YAML's numbers are what they look like."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tinygptv.config.profiles import read_config, read_profile
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def rates(value, path=()):
    """Every value below a key ``learning_rate`` or ending in it, with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from rates(item, (*path, str(key)))
    elif any(part.endswith("learning_rate") for part in path) and path[-1] != "warmup_steps":
        yield ".".join(path), value


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_committed_profiles_are_valid(path):
    config = read_config(path)
    assert [config.stage(name).steps for name in STAGES] == [
        config.stage(name).steps_per_epoch * config.stage(name).epochs * config.stage(name).repeats for name in STAGES
    ]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_learning_rates_are_numbers(path):
    """YAML 1.1 reads 1e-4 as a text; a stage that trained with it would not even fail early."""
    found = dict(rates(read_yaml(path)))
    assert len(found) >= 3 * len(STAGES)
    assert {name: value for name, value in found.items() if type(value) is not float} == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1.0e-4", 1e-4), ("2E3", 2000.0), ("7", 7), ("yes", "yes"), ("010", 10), ("12:30", "12:30")],
)
def test_yaml_1_2(tmp_path, text, value):
    path = tmp_path / "x.yaml"
    path.write_text(f"key: {text}\n")
    read = read_yaml(path)["key"]
    assert (read, type(read)) == (value, type(value))


def test_yaml_makes_no_objects(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("key: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match=r"x\.yaml is not valid YAML"):
        read_yaml(path)


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "params.yaml").write_text("profile: smoke\nseed: 7\n")
    return tmp_path


def test_params_name_the_profile_and_an_option_another(checkout):
    assert (read_profile(checkout).name, read_profile(checkout).seed) == ("smoke", 7)
    assert read_profile(checkout, "tiny").name == "tiny"
    with pytest.raises(ConfigError, match=r"nix\.yaml does not exist; profiles are .*smoke"):
        read_profile(checkout, "nix")


def test_a_config_cannot_be_changed_after_reading(checkout):
    config = read_profile(checkout).config
    with pytest.raises(ValueError, match="frozen"):
        config.stage1.batch_size = 3


def test_several_problems_are_counted(checkout):
    path = checkout / "configs" / "smoke.yaml"
    path.write_text(path.read_text().replace("images_per_shard: 1000", "images_per_shard: x\n  nix: 1"))
    with pytest.raises(ConfigError, match=r"shards\.images_per_shard.*\(and 1 more\)$"):
        read_config(path)


def test_the_published_qformer_belongs_to_its_tower(tmp_path):
    path = Path(__file__).parents[2] / "configs" / "paper.yaml"
    other = path.read_text().replace("Salesforce/blip2-flan-t5-xxl", "LAVIS/blip2-vitL")
    for text, told in (
        (path.read_text().replace("tower: eva", "tower: clip"), "Salesforce/blip2-flan-t5-xxl was trained on eva, not"),
        (other, "LAVIS/blip2-vitL was trained on clip, not on eva; set backbones.image_encoder to Salesforce"),
    ):
        (tmp_path / "paper.yaml").write_text(text)
        with pytest.raises(ConfigError, match=rf"model\.vision\.tower: the Q-Former of {told}"):
            read_config(tmp_path / "paper.yaml")


def keys(value):
    """Every key at every depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from keys(item)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_key_has_a_name_that_dvc_leaves_out_of_what_it_compares(path):
    """Its run cache drops these keys from a step's parameters (dvc/stage/cache.py): old results would come back."""
    assert not {"size", "nfiles"} & set(keys(read_yaml(path)))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_later_stages_take_what_they_share_from_the_earlier(path):
    """`dvc exp run -S` writes the shared values out, so that a change of the first no longer reaches the others."""
    assert "<<: *" in path.read_text()
