"""Ablations: what they change, and how their results are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tinygptv.config.profiles import read_config
from tinygptv.evaluation.ablations import PAPER, Ablation, change, curves, final_losses, markdown_table
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.model.upstream.pins import read_pins

CONFIGS = Path(__file__).parents[2] / "configs"
FAMILIES = {family: read_yaml(CONFIGS / "ablations" / f"{family}.yaml") for family in ("tiny", "llama", "backbones")}
VARIANTS = FAMILIES["tiny"]


def points(last: float) -> list[dict[str, float]]:
    return [{"step": 10, "loss": 3.0, "grad_norm": 2.0}, {"step": 20, "loss": last, "grad_norm": 0.5}]


DONE = Ablation({stage: points(0.1 * i) for i, stage in enumerate(STAGES, 1)}, "", 0.99)
STOPPED = Ablation({"stage1": points(0.5)}, "step 3: the loss (nan) is not finite", None)


def test_the_variants_are_those_of_the_paper() -> None:
    assert FAMILIES.keys() == PAPER.keys()
    for family in ("tiny", "llama"):
        assert list(FAMILIES[family]) == list(PAPER[family])
    assert PAPER["backbones"].keys() < FAMILIES["backbones"].keys(), "it trains CLIP with none"


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, names in FAMILIES.items() for name in names if names[name]]
)
def test_every_variant_is_a_valid_profile_that_differs(family: str, name: str, tmp_path: Path) -> None:
    content = read_yaml(CONFIGS / "tiny.yaml")
    change(content, FAMILIES[family][name], "a file")
    (tmp_path / "changed.yaml").write_text(json.dumps(content))
    before, after = read_config(CONFIGS / "tiny.yaml"), read_config(tmp_path / "changed.yaml")
    assert after != before
    if not name.startswith("CLIP"):
        assert after.model.vision == before.model.vision  # its pretraining is not repeated for nothing


def test_the_other_backbones_of_the_paper_are_profiles_with_weights_that_the_lock_file_names(tmp_path: Path) -> None:
    pins = read_pins(CONFIGS / "backbones.lock.json")
    for name, changes in read_yaml(CONFIGS / "ablations" / "paper.yaml").items():
        content = read_yaml(CONFIGS / "paper.yaml")
        change(content, changes, name)
        (tmp_path / "changed.yaml").write_text(json.dumps(content))
        taken = read_config(tmp_path / "changed.yaml").backbones
        assert {taken.language_model, taken.image_encoder} <= pins.keys()


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"a file: the profile has no key `model\.text\.norm`"):
        change({"model": {"text": {"qk_norm": True}}}, {"model.text.norm": False}, "a file")


def test_final_losses_have_the_papers_marks() -> None:
    assert final_losses(DONE) == ("0.100", "0.200", "0.300", "0.400")
    assert final_losses(STOPPED) == ("0.500", "V", "-", "-")


def test_the_table_sets_ours_beside_the_papers() -> None:
    table = markdown_table({"full": DONE, "without QK-Norm": STOPPED}, "tiny")
    assert "| full | 0.100 (2.620) | 0.200 (2.343) | 0.300 (1.125) | 0.400 (1.330) | 0.9900 |" in table
    assert "| without QK-Norm | 0.500 (V) | V (-) | - (-) | - (-) | - |" in table


def test_the_figure_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        curves({"full": DONE, "without QK-Norm": STOPPED}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 2 * picture.height > 1000
