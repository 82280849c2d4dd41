"""What ``tinygptv plan`` shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tinygptv.cli import main
from tinygptv.fetching.sources import SOURCES
from tinygptv.planning.plan import GB, make_plan
from tinygptv.planning.published import published
from tinygptv.planning.table import as_json, render

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> int:
    return main(["plan", "--root", str(ROOT), *arguments])


@pytest.mark.parametrize("capacity", [26, 8])
def test_the_table_fits_a_terminal(plain, capacity):
    made = make_plan(plain, "paper", "cuda", capacity * GB, {})
    lines = render(made).splitlines()
    assert max(map(len, lines)) <= 100
    peaks = next(line.split() for line in lines if line.startswith("  peak"))
    assert peaks == ["peak", *(f"{stage.memory.peak / GB:.2f}" for stage in made.stages)]
    named = [line for line in lines if line.startswith("  stage")]
    assert bool(named) == (not made.fits)


def test_the_documentation_shows_the_present_plan(paper, tmp_path):
    """Of a checkout that has no data yet."""
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / SOURCES, tmp_path / SOURCES)
    shown = (ROOT / "docs" / "memory.md").read_text()
    made = make_plan(paper, "paper", "cuda", 24 * GB, *published(tmp_path, paper.data))
    assert f"```text\n{render(made)}\n```" in shown


def test_exit_code_0_where_all_fit_and_1_where_not(capsys):
    assert run("--profile", "smoke", "--gpu", "24") == 0
    assert "a GPU of 24.0 GB" in capsys.readouterr().out
    assert run("--profile", "paper", "--gpu", "20") == 1
    assert "stage2.gradient_checkpointing: true" in capsys.readouterr().out


def test_without_a_gpu_it_is_the_machine_of_the_profile(capsys):
    assert run("--profile", "smoke") == 0
    assert "on a machine of" in capsys.readouterr().out


def test_json_holds_bytes_and_what_is_assumed(capsys, paper):
    assert run("--profile", "paper", "--gpu", "24", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    made = make_plan(paper, "paper", "cuda", 24 * GB, *published(ROOT, paper.data))
    assert content == json.loads(json.dumps(as_json(made)))
    assert content["fits"] is True
    assert [stage["memory"]["peak"] for stage in content["stages"]] == [stage.memory.peak for stage in made.stages]
    assert content["stages"][3]["trainable"] == 45_266_944
    assert set(content["assumed"]) == {"utilisation", "peak_tflops", "reserve"}


def test_an_unknown_profile_and_no_size_are_usage_errors(capsys):
    assert run("--profile", "nix") == 2
    assert "nix.yaml" in capsys.readouterr().err
    assert run("--gpu", "0") == 2
