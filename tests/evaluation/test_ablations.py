"""Ablations: what they change, and how their results are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tinygptv.config.profiles import read_config
from tinygptv.evaluation.ablations import (
    FULL,
    MODELS,
    PAPER,
    Ablation,
    change,
    changed,
    changes_file,
    curves,
    families,
    markdown_table,
    published,
    read_family,
)
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.model.upstream.pins import read_pins

ROOT = Path(__file__).parents[2]
PROFILES = ("tiny", "smoke", "paper")


def points(last: float) -> list[dict[str, float]]:
    return [{"step": 10, "loss": 3.0, "grad_norm": 2.0}, {"step": 20, "loss": last, "grad_norm": 0.5}]


def ended(first: float, accuracy: float = 0.99) -> Ablation:
    return Ablation({stage: points(first * i) for i, stage in enumerate(STAGES, 1)}, "", accuracy)


DONE = ended(0.1)
STOPPED = Ablation({"stage1": points(0.5)}, "step 3: the loss (nan) is not finite", None)


def test_the_variants_are_those_of_the_paper() -> None:
    for family, model in MODELS.items():
        assert list(read_family(ROOT, family, "tiny")) == list(PAPER[model])
    assert {published("backbones", f"EVA-CLIP with {model}") for model in ("Phi-2", "TinyLLaMA")} == {
        PAPER[model][FULL] for model in ("Phi-2", "TinyLLaMA")
    }
    assert published("backbones", "CLIP with Phi-2") == ("", "", "", ""), "it trains CLIP with none"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("family", families(ROOT))
def test_every_variant_is_a_valid_profile_that_differs_from_the_others(family: str, profile: str) -> None:
    variants = read_family(ROOT, family, profile)
    found = {name: changed(ROOT, profile, changes, name) for name, changes in variants.items()}
    assert len({config.model_dump_json() for config in found.values()}) == len(variants)
    before = read_config(ROOT / "configs" / f"{profile}.yaml")
    for name, config in found.items():
        if not name.startswith("CLIP"):
            assert config.model.vision == before.model.vision  # its pretraining is not repeated for nothing
        if family in MODELS:
            assert (config.model == before.model) == (family == "tiny" and name not in ("without RMSNorm", NO_QK))


NO_QK = "without QK-Norm"


def test_a_family_of_ones_own_may_have_its_values_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "configs" / "ablations"
    (folder / "changes").mkdir(parents=True)
    (folder / "changes" / "parts.yaml").write_text("bare: {model.text.qk_norm: false}\n")
    (folder / "mine.yaml").write_text("slow: [bare, {stage4.epochs: 2, stage1.batch_size: 32}]\n")
    wanted = {"model.text.qk_norm": False, "stage4.epochs": 2, "stage1.batch_size": 32}
    assert families(tmp_path) == ["mine"]
    assert read_family(tmp_path, "mine", "tiny") == {"slow": wanted}
    (folder / "mine.yaml").write_text("slow: [TinyLLaMA]\n")
    with pytest.raises(ConfigError, match=r"slow: no 'TinyLLaMA' in .*changes/tiny\.yaml"):
        read_family(tmp_path, "mine", "tiny")
    with pytest.raises(ConfigError, match=r"no family 'nine' in .*there are mine"):
        read_family(tmp_path, "nine", "tiny")


def test_a_change_touches_no_stage_that_shares_its_values() -> None:
    config = changed(ROOT, "tiny", {"stage1.learning_rate.init": 1.0}, "a file")
    assert (config.stage1.learning_rate.init, config.stage2.learning_rate.init) == (1.0, 3e-3)


def test_the_other_backbones_of_the_paper_are_profiles_with_weights_that_the_lock_file_names() -> None:
    pins = read_pins(ROOT / "configs" / "backbones.lock.json")
    for name, changes in read_yaml(changes_file(ROOT, "paper")).items():
        taken = changed(ROOT, "paper", changes, name).backbones
        assert {taken.language_model, taken.image_encoder} <= pins.keys()


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"a file: the profile has no key `model\.text\.norm`"):
        change({"model": {"text": {"qk_norm": True}}}, {"model.text.norm": False}, "a file")


def test_the_table_sets_ours_beside_the_papers() -> None:
    table = markdown_table({"full": [DONE], "without QK-Norm": [STOPPED]}, "tiny")
    assert "| full | 0.100 (2.620) | 0.200 (2.343) | 0.300 (1.125) | 0.400 (1.330) | 0.9900 |" in table
    assert "| without QK-Norm | 0.500 (V) | V (-) | - (-) | - (-) | - |" in table
    assert "| full | 0.500 | 0.500 | 0.500 | 0.500 |" in table, "the gradient norms"
    assert "seeds" not in table


def test_several_seeds_are_told_with_their_spread_and_with_those_that_stopped() -> None:
    table = markdown_table({"full": [ended(0.1, 0.99), ended(0.3, 0.91)], "without LoRA": [DONE, STOPPED]}, "llama")
    full = "| full | 2 | 0.200 [0.100, 0.300] (3.529) | 0.400 [0.200, 0.600] (3.053) "
    assert f"{full}| 0.600 [0.300, 0.900] (1.371) | 0.800 [0.400, 1.200] (1.830) | 0.9500 [0.9100, 0.9900] |" in table
    part = "| without LoRA | 2 | 0.300 [0.100, 0.500] (3.529) | 0.200; 1 of 2 stopped (-) |"
    assert part in table
    assert "0.9900; 1 of 2 stopped |" in table


BAND = (210, 210, 210)
"""A fifth of the first line's ink on white."""


def test_the_figure_is_the_same_each_time_and_shows_the_spread(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        curves({"full": [DONE, ended(0.3)], "without QK-Norm": [STOPPED]}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 2 * picture.height > 1000
        shades = {colour[:3]: number for number, colour in picture.getcolors(1 << 16)}
    assert shades.get(BAND, 0) > 1000
