"""Other values in a profile: the right one changes, no other, and the file stays what a person wrote."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import pytest

from tinygptv.config.overrides import override
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.yaml_files import from_yaml, read_yaml

ROOT = Path(__file__).resolve().parents[2]
TINY = read_yaml(ROOT / "configs" / "tiny.yaml")


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "configs" / "tiny.yaml", tmp_path / "configs")
    (tmp_path / "params.yaml").write_text("# the switch\nprofile: tiny\nseed: 7\n")
    return tmp_path


def leaves(value, path=()):
    """Every value that holds no other, by its path."""
    if not isinstance(value, dict):
        return {path: value}
    return {place: leaf for key, item in value.items() for place, leaf in leaves(item, (*path, key)).items()}


def lines(before: str, after: str) -> list[str]:
    """The lines that differ; ``null`` and nothing are the same in YAML."""
    before, after = (text.replace(": null", ":") for text in (before, after))
    changed = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
    return [line for line in changed if line[0] in "+-" and line[:3] not in ("+++", "---")]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("stage4.epochs=3", 3),  # its own stage takes it from an anchor
        ("stage4.learning_rate.init=1e-3", 1e-3),
        ("stage2.learning_rate.warmup_steps=5", 5),  # in a mapping that all stages share
        ("stage3.prompt.template='Q: {} A: '", "Q: {} A: "),  # an alias of what the stand-ins are trained with
        ("stage1.epochs=2", 2),  # the anchor itself
        ("stage1.learning_rate.init=1e-3", 1e-3),
        ("backbones.text.prompt.end_mark='!'", "!"),
        ("stage2.trainable=[lora]", ["lora"]),
        ("evaluate.batch_size=128", 128),
    ],
)
def test_one_value_changes_and_no_other(root, setting, value):
    path = root / "configs" / "tiny.yaml"
    changed = from_yaml(override(root, "tiny", [setting])[path], "changed")
    key = tuple(setting.partition("=")[0].split("."))
    assert leaves(changed) == leaves(TINY) | {key: value}
    assert read_yaml(path) == TINY  # nothing is written


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("evaluate.batch_size=128", ["-  batch_size: 256", "+  batch_size: 128"]),
        ("stage4.epochs=3", ["+  epochs: 3"]),
        ("seed=8", ["-seed: 7", "+seed: 8"]),
    ],
)
def test_comments_and_anchors_stay(root, setting, difference):
    made = override(root, "tiny", [setting])
    assert [line for path, text in made.items() for line in lines(path.read_text(), text)] == difference


def test_several_at_once(root):
    made = override(root, "tiny", ["seed=8", "stage4.epochs=3", "stage4.mixture.easy_vqa/vqa=50"])
    changed = from_yaml(made[root / "configs" / "tiny.yaml"], "changed")
    assert leaves(changed) == leaves(TINY) | {("stage4", "epochs"): 3, ("stage4", "mixture", "easy_vqa/vqa"): 50}
    assert from_yaml(made[root / "params.yaml"], "params") == {"profile": "tiny", "seed": 8}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stage4.epoch=3", "--set stage4.epoch=3: unknown key `stage4.epoch`; docs/configuration.md lists the keys"),
        ("stage9.epochs=3", "--set stage9.epochs=3: no key `stage9.epochs`"),
        ("stage4.epochs.deep=3", "no key `stage4.epochs.deep`"),
        ("stage4.epochs=many", "--set stage4.epochs=many: key `stage4.epochs` is 'many'"),
        ("stage4.epochs=", "key `stage4.epochs` is None"),
        ("stage4.epochs=[1", r"--set stage4.epochs=\[1 is not valid YAML"),
        ("stage4.epochs", "--set stage4.epochs: it must be KEY=VALUE"),
        ("=3", "--set =3: it must be KEY=VALUE"),
        ("seed=-1", "--set seed=-1: seed must be a whole number"),
        ("profile=paper", "--set profile=paper: unknown key `profile`"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(root, setting, words):
    with pytest.raises(ConfigError, match=words) as refused:
        override(root, "tiny", [setting])
    assert "\n" not in str(refused.value)
