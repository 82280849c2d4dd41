"""The section ``init``: what it may name, and that it goes with a source of backbones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinygptv.config import Init
from tinygptv.config.profiles import check_config
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.yaml_files import read_yaml

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "smoke.yaml"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("tiny", ("tiny", None)),
        ("my-cats_2.1", ("my-cats_2.1", None)),
        ("tiny/stage4", ("tiny", "stage4")),
        ("tiny/stage5", None),
        ("./tiny/stage4", None),
        ("../elsewhere", None),
        ("/data/tiny/stage4", None),
        ("microsoft/phi-2", None),
        ("models:/tinygptv@champion", None),
        ("models:/tinygptv/3", None),
    ],
)
def test_a_profile_and_its_stage_are_told_from_folders_and_addresses(text, named):
    assert Init.model_validate({"from": text}).named_profile == named


@pytest.mark.parametrize("text", ["", ".", "two words", "tiny:stage4"])
def test_what_can_be_nothing_of_these_is_refused(text):
    content = read_yaml(SMOKE) | {"init": {"from": text}, "backbones": {"source": "init"}}
    with pytest.raises(ConfigError, match=r"init\.from: .* is no profile, and a folder has a slash"):
        check_config(content, "x.yaml")


def test_the_section_and_the_source_go_together():
    content = read_yaml(SMOKE)
    with pytest.raises(ConfigError, match=r"init: needs `backbones: \{source: init\}`, not source pretrain"):
        check_config(content | {"init": {"from": "tiny"}}, "x.yaml")
    with pytest.raises(ConfigError, match=r"init: is missing, but backbones\.source is init"):
        check_config(content | {"backbones": {"source": "init"}}, "x.yaml")
    assert check_config(content, "x.yaml").init is None
