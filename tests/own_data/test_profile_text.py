from __future__ import annotations

from typing import Any

import pytest

from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import from_yaml
from tinygptv.own_data.profile_text import text_of

STAGE = {"epochs": 1, "rate": {"init": 1e-05, "min": 0.5}, "mixture": {"cats": 1.0}, "bound": float("inf")}


def profile(**data: Any) -> dict[str, Any]:
    stages = {name: {**STAGE, "epochs": 0} for name in STAGES} | {"stage4": STAGE}
    return {"data": data, **stages, "register": {"model_name": "m"}}


@pytest.mark.parametrize(
    "value",
    [
        *("plain", "/a b/my pictures", "a: b", "# no comment", "yes", "null", "1", "1e5", "3.14", "", " ", "- x", "*a"),
        *("{a}", "[a]", "'", '"', "Bilder für Ärzte", "a\nb", "###", "<<", "~", "ends ", "2026-11-27", "\u202e", "a,b"),
        *(True, None, 0, -1, 1.0, 1e-05, 3e20, 0.1, [], ["a b", "c, d"], [1, 2.0]),
    ],
)  # fmt: skip
def test_every_value_is_read_back(value):
    content = profile(cats={"files": value, "deep": {"deeper": {"key": value}}})
    assert from_yaml(text_of(content, [], {}), "the text") == content


def test_other_readers_of_yaml_see_the_same():
    yaml = pytest.importorskip("yaml")  # PyYAML reads YAML 1.1
    content = profile(cats={"word": "on", "number": 3e-05, "text": "1e5", "day": "2026-11-27"})
    assert yaml.safe_load(text_of(content, [], {})) == content


def test_the_last_stage_is_written_once_and_the_others_by_what_differs():
    text = text_of(profile(cats={}), ["Mine."], {"stage1": "Handed on.", "stage4.epochs": "once", "data": "a\nb"})
    assert text.startswith("# Mine.\n\n# a\n# b\ndata:")
    assert "stage4: &stage4\n  epochs: 1  # once\n" in text
    assert "# Handed on.\nstage1: {<<: *stage4, epochs: 0}\nstage2: {<<: *stage4, epochs: 0}\n" in text
    assert text.index("stage4:") < text.index("stage1:")
