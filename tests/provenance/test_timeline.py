"""``tinygptv timeline``: a trace and a table of a stage's own steps, and nothing else."""

from __future__ import annotations

import gzip
import json

from tinygptv.cli import main


def test_steps_leave_a_trace_and_nothing_else(with_stage1, capsys):
    def files():
        parts = (with_stage1.data, with_stage1.root / ".state", with_stage1.root / "reports")
        return {path for part in parts for path in part.rglob("*") if path.is_file()}

    before = files()
    assert main(["timeline", "stage1", "--steps", "2", "--profile", "smoke", "--root", str(with_stage1.root)]) == 0
    text = capsys.readouterr().out
    trace = with_stage1.root / ".state/smoke/timeline/stage1.json.gz"
    assert files() - before == {trace}
    assert text.splitlines()[0].startswith("2 steps, ") and text.splitlines()[-1] == str(trace)
    for row in (
        "data wait",
        "forward pass",
        "backward pass",
        "optimizer",
        "matrix products",
        "Operations that compute",
    ):
        assert row in text
    assert "GPU" not in text
    names = {event.get("name") for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]}
    assert {"data wait", "aten::addmm"} <= names


def test_no_more_steps_than_the_stage_has(with_stage1, capsys):
    assert main(["timeline", "stage1", "--steps", "11", "--profile", "smoke", "--root", str(with_stage1.root)]) == 2
    assert "--steps 11: stage1 of the profile smoke has 10 to look at" in capsys.readouterr().err
