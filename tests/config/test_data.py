"""The sections of data sets, and what names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinygptv.config import Entry, parse_entry
from tinygptv.config.profiles import check_config
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.yaml_files import read_yaml

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.yaml"
CATS = {"format": "easy_vqa", "files": ["cats.json"], "images": "cats/", "split": {"val": 0.02}, "licence": "CC0-1.0"}


def checked(**sections):
    profile = read_yaml(SMOKE)
    for name, changes in sections.items():
        profile[name] = {**profile[name], **changes}
    return check_config(profile, "the profile")


def test_an_entry_is_a_data_set_or_its_records_of_a_family():
    assert parse_entry("my_cats") == Entry("my_cats", None)
    assert parse_entry("easy_vqa/align") == Entry("easy_vqa", "align")


def test_a_second_data_set_needs_its_section_and_an_entry():
    config = checked(data={"my_cats": CATS}, stage4={"mixture": {"my_cats": 3.0, "easy_vqa/vqa": 1.0}})
    assert config.data["my_cats"].split == {"val": 0.02}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"data": {"my_cats": CATS | {"format": "llavva"}}}, "data.my_cats.format: 'llavva' is not known; known are"),
        (
            {"data": {"my_cats": CATS | {"split": {"val": 0.5, "test": 0.6}}}},
            "the shares held out are more than the whole",
        ),
        ({"data": {"my_cats": CATS | {"benchmark": "gqqa"}}}, "benchmark: 'gqqa' is not known; known are"),
        ({"evaluate": {"benchmarks": ["dogs"]}}, "evaluate.benchmarks: names the data set dogs, but `data` has"),
        ({"data": {"my_cats": CATS | {"split": {"vall": 0.5}}}}, "data.my_cats.split.vall"),
        ({"data": {"my_cats": {"format": "easy_vqa"}}}, "key `data.my_cats.licence` is missing"),
        ({"data": {"my_cats": CATS | {"file": "x"}}}, "unknown key `data.my_cats.file`"),
        ({"data": {"my cats": CATS}}, "'my cats' is no name"),
        (
            {"stage4": {"mixture": {"my_dogs": 1.0}}},
            "stage4.mixture: names the data set my_dogs, but `data` has",
        ),
        ({"stage4": {"mixture": {"easy_vqa/dance": 1.0}}}, "easy_vqa/dance: no instructions are called 'dance'"),
        ({"stage4": {"mixture": {"": 1.0}}}, "'' is no data set"),
        ({"backbones": {"data": ["my_dogs"]}}, "backbones.data: names the data set my_dogs"),
    ],
)
def test_one_line_names_the_key(sections, said):
    with pytest.raises(ConfigError) as refused:
        checked(**sections)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
