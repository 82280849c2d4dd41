"""The configuration reference follows the schema and the profiles."""

import shutil
from pathlib import Path

import pytest

from tinygptv.config import Config
from tinygptv.docs import REFERENCE, RESULTS_BEGIN, RESULTS_END, main, reference

ROOT = Path(__file__).parents[1]


def test_the_committed_reference_is_current():
    assert (ROOT / REFERENCE).read_text() == reference(ROOT), "run `python -m tinygptv.docs`"


def sections(cls=Config):
    for field in cls.model_fields.values():
        if hasattr(field.annotation, "model_fields"):
            yield field.annotation
            yield from sections(field.annotation)


def test_every_key_and_description_is_there(tmp_path):
    text = reference(tmp_path)
    for cls in sections():
        for name, field in cls.model_fields.items():
            assert name in text
            assert field.description is None or field.description in text


def test_values_come_from_the_profiles(tmp_path):
    (tmp_path / "configs").mkdir()
    tiny = tmp_path / "configs" / "tiny.yaml"
    tiny.write_text("runtime: {threads: 2}\nstage1: {epochs: 3}\nstage2: {epochs: 4}\n")
    text = reference(tmp_path)
    assert "| `threads` | whole number | ≥ 1 | CPU threads of torch; part of what decides the bits. | `2` |" in text
    assert "| `epochs` | whole number | ≥ 1 | Epochs. | `3` / `4` / - / - |" in text
    assert "paper |" not in text


def test_check_tells_stale_from_current(tmp_path, monkeypatch, capsys):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    shutil.copytree(ROOT / "reports" / "tiny", tmp_path / "reports" / "tiny")
    (tmp_path / "README.md").write_text(f"before\n{RESULTS_BEGIN}\n{RESULTS_END}\nafter\n")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["docs", *arguments])
        return main()

    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0
    shown = (tmp_path / "README.md").read_text()
    assert shown.startswith("before\n") and shown.endswith("after\n") and "| easy_vqa | 8 bits |" in shown
    for path in (tmp_path / REFERENCE, tmp_path / "README.md"):
        content = path.read_text()
        path.write_text(content.replace("|", "!", 1))
        assert run("--check") == 1
        path.write_text(content)
    assert "python -m tinygptv.docs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "heading", ["## `stage1`, `stage2`, `stage3`, `stage4`", "### `register.gate`", "## `register`"]
)
def test_equal_sections_share_a_table(heading, tmp_path):
    assert f"\n{heading}\n" in reference(tmp_path)
