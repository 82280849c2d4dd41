"""The benchmark of the data's size runs its steps for real, on few images, and tells what it saw."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
RECORDS = 40


@pytest.fixture
def made(monkeypatch):
    """The module that makes the data."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import data_scale_made

    return data_scale_made


def test_images_differ_in_their_bytes_and_decode_to_the_size_of_a_photograph(made):
    found = dict(made.images(20))
    assert len(found) == len({hashlib.sha256(content).digest() for content in found.values()}) == 20
    decoded = [Image.open(io.BytesIO(content)).convert("RGB") for content in found.values()]
    assert {image.size for image in decoded} == {(640, 480)}
    assert len({image.tobytes() for image in decoded}) == made.BASES
    assert all(40_000 < len(content) < 200_000 for content in found.values())


def test_a_process_is_seen_with_all_that_it_starts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import data_scale_watch

    code = "import sys, time; held = bytearray({} << 20); held[::4096] = held[::4096]; {}; time.sleep(0.6)"
    inner = code.format(90, "None")
    outer = code.format(40, f"import subprocess; child = subprocess.Popen([sys.executable, '-c', {inner!r}])")
    seen = data_scale_watch.watch([sys.executable, "-c", outer + "; child.wait(); print('done')"], {}, tmp_path)
    (own,), (child,) = seen.peaks_mib["step"], seen.peaks_mib["workers"]
    assert 40 < own < child
    assert 90 < child < 200
    assert seen.output == "done\n"
    with pytest.raises(RuntimeError, match=r"ended with code 1:\n.*no such thing"):
        data_scale_watch.watch([sys.executable, "-c", "raise SystemExit('no such thing')"], {}, tmp_path)


@pytest.mark.pipeline
def test_steps_and_starts_are_measured_and_told(tmp_path):
    out = tmp_path / "found.json"
    small = ("--records", str(RECORDS), "--index", "3000", "--rounds", "1", "--workers", "1", "--scratch", tmp_path)
    command = [sys.executable, BENCHMARKS / "data_scale.py", *small, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    content = json.loads(out.read_text())
    assert content["steps"].keys() == {"download", "shards", "features"}
    for step, found in content["steps"].items():
        assert found["peak_mib"].keys() == {"4", "40"}
        assert all(peaks["step"][0] > 10 for peaks in found["peak_mib"].values())
        assert found["images_per_second"]["40"] > 0
        assert ("ratio" in found) == (step != "download")
    assert content["start"]["records"] == 3000
    for step in ("step 0", "step 80000"):
        assert content["start"][step]["mib"] >= 0
        assert set(content["start"][step]["seconds"]) == {"index and order", "check", "trace", "first batch", "in all"}
    assert "features" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [out.name]  # what it made is gone
