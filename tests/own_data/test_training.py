"""What `new` writes is trained and evaluated by the steps; tests/pipeline/test_own_data.py has the flow."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from tests.checkouts import Checkout
from tests.own_pictures import FORMS
from tinygptv.own_data.new import new

STEPS = ("download", "shards", "backbones", "features", "stage1", "stage2", "stage3", "stage4", "evaluate")


def test_the_steps_run_with_the_profile_as_it_was_written(with_stage1, run, tmp_path, capsys):
    root = shutil.copytree(with_stage1.root, tmp_path / "checkout")
    (tmp_path / "my data").mkdir()
    _, data, _, images = FORMS["llava"](tmp_path / "my data", 30)
    path = new(root, "mine", Path(data), images=Path(images), model="smoke/stage1", say=lambda line: None)
    short, count = re.subn(r"steps_per_epoch: \d+", "steps_per_epoch: 2", path.read_text())
    assert count == 1
    path.write_text(short)
    for step in STEPS:
        assert run(Checkout(root), step, "--profile", "mine") == 0, capsys.readouterr().err
    made = root / "data" / "mine"
    handed_on = [(made / f"stage{number}" / "trained.safetensors").read_bytes() for number in (1, 2, 3)]
    assert len(set(handed_on)) == 1
    report = json.loads((root / "reports" / "mine" / "evaluate.json").read_bytes())
    asked = report["benchmarks"]["mine"]
    assert asked["n"] > 0 and asked["n"] % 3 == 0  # three questions of each picture that is held out
    assert json.loads((made / "stage4" / "cuts.json").read_bytes())["mine"]["cut_answers"] == 0
