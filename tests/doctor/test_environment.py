from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tinygptv.cli import main
from tinygptv.doctor import environment, examine

HERE = {"python": "3.11.7", "torch": "2.13.0", "cores": 2}


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(environment, "present", lambda: HERE)


@pytest.fixture
def made(checkout):
    """Write a manifest as the steps do."""

    def write(step: str, **facts):
        folder = checkout / "data" / "tiny" / step
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / ("environment.json" if step == "backbones" else "manifest.json")
        path.write_text(json.dumps(facts if step == "backbones" else {"stage": step, "environment": facts}))
        return path

    return write


def test_without_results_there_is_nothing_to_compare(checkout, found):
    assert found(checkout, "environment").finding == "no results of profile tiny to compare with"


def test_the_same_environment(checkout, found, made):
    for step in ("backbones", "stage1", "stage2"):
        made(step, **HERE)
    check = found(checkout, "environment")
    assert (check.level, check.finding) == ("ok", "that of backbones, stage1, stage2")


def test_another_environment_is_named_key_by_key_and_once(checkout, made):
    made("backbones", **HERE)
    for step in ("stage1", "stage2"):
        made(step, python="3.11.7", torch="2.12.0", gpu="A100")
    same, other = (check for check in examine(checkout) if check.name == "environment")
    assert (same.level, other.level) == ("ok", "warning")
    assert other.finding == (
        "stage1, stage2 made in another environment: cores not recorded → 2, gpu A100 → none here, "
        "torch 2.12.0 → 2.13.0; bits may differ, losses agree within the stated tolerance"
    )


def test_a_damaged_manifest(checkout, found, made):
    path = made("stage1", **HERE)
    path.write_text("{")
    check = found(checkout, "environment")
    assert check.level == "problem"
    assert str(path) in check.finding
    assert check.fix.endswith(f"dvc checkout {path.parent}")


def test_one_manifest_alone(checkout, made, capsys, tmp_path):
    path = made("stage1", **{**HERE, "torch": "2.12.0"})
    assert main(["doctor", "--root", str(checkout), "--manifest", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "torch 2.12.0 → 2.13.0" in shown
    assert "versions" not in shown
    for content in ("[]", '{"stage": "stage1"}', "{"):
        path.write_text(content)
        assert main(["doctor", "--root", str(checkout), "--manifest", str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"tinygptv: {path} ")
        assert error.count("\n") == 1


def test_the_present_environment_is_that_of_the_manifests(monkeypatch):
    """And torch is imported only for it."""
    code = (
        "import sys\n"
        "from tinygptv.doctor import environment\n"
        "assert 'torch' not in sys.modules\n"
        "from tinygptv.ground.runtime import environment as recorded\n"
        "assert environment.present() == recorded()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
