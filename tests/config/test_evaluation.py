"""What is asked, and the gate that judges it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinygptv.config.profiles import check_config, read_profile
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
EASY = "easy_vqa, easy_vqa_refer, easy_vqa_caption"
CATS = {"format": "llava", "files": ["cats.json"], "licence": "CC0-1.0", "benchmark": "exact_match"}


def checked(names, asked=("easy_vqa",)):
    """The smoke profile with a gate for these names, and a second data set with a benchmark of its own."""
    profile = read_yaml(ROOT / "configs" / "smoke.yaml")
    profile["data"]["cats"] = CATS
    profile["evaluate"]["benchmarks"] = list(asked)
    limits = dict.fromkeys(names, 0.5)
    profile["register"]["gate"] |= {"min_value": limits, "margin": limits}
    return check_config(profile, "the profile")


@pytest.mark.parametrize(
    ("names", "asked", "others"),
    [
        (["gqa"], ["easy_vqa"], EASY),
        (["easy_vqa", "easy_vqa_grounding"], ["easy_vqa"], EASY),
        (["easy_vqa"], [], "nothing"),
        (["cats"], ["easy_vqa"], EASY),
        (["cats_refer"], ["cats"], "cats"),
        (["easy_vqa"], ["cats"], "cats"),
    ],
)
def test_a_gate_that_names_what_nothing_asks_is_refused(names, asked, others):
    with pytest.raises(ConfigError) as refused:
        checked(names, asked)
    told = f"register.gate: names {names[-1]}, which nothing asks; evaluate.benchmarks gives {others}"
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_a_gate_names_data_sets_and_their_tasks():
    assert checked(["easy_vqa_caption", "cats"], ["easy_vqa", "cats"]).register_.gate.min_value["cats"] == 0.5


def test_a_limit_may_be_above_one():
    """CIDEr is no share."""
    profile = read_yaml(ROOT / "configs" / "smoke.yaml")
    profile["register"]["gate"]["min_value"] = {"easy_vqa": 1.2}
    assert check_config(profile, "the profile").register_.gate.min_value == {"easy_vqa": 1.2}
    profile["register"]["gate"]["min_value"] = {"easy_vqa": -0.1}
    with pytest.raises(ConfigError, match=r"register\.gate\.min_value\.easy_vqa"):
        check_config(profile, "the profile")


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "configs").glob("*.yaml")))
def test_the_gates_of_the_profiles_name_what_is_asked(profile):
    config = read_profile(ROOT, profile).config
    assert config.register_.gate.min_value.keys() <= {ask.name for ask in asks_of(config)}
