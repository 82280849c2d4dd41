from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from tinygptv.cli import main
from tinygptv.doctor import examine, packages


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    real = metadata.version
    monkeypatch.setattr(packages.metadata, "version", lambda name: versions.get(name) or real(name))


def test_all_is_well(checkout, capsys):
    assert [check for check in examine(checkout) if check.level == "problem"] == []
    assert main(["doctor", "--root", str(checkout)]) == 0
    assert "python" in capsys.readouterr().out


def test_the_project_s_own_pins_are_installed():
    (check,) = packages.pins(Path(__file__).resolve().parents[2])
    assert check.level == "ok", check


def test_a_wrong_a_missing_and_a_pulled_in_version_are_named(checkout, found, capsys):
    (checkout / "pyproject.toml").write_text(
        '[project]\nname = "x"\ndependencies = ["psutil==0.1", "no-such-package-here==1"]\n'
    )
    (checkout / "constraints.txt").write_text("# header\nclick==0.1\nnot-installed==1\n")
    check = found(checkout, "versions")
    assert check.level == "problem"
    assert all(part in check.finding for part in ("psutil", "no-such-package-here is missing", "click"))
    assert "not-installed" not in check.finding
    assert "constraints.txt" in check.fix
    assert main(["doctor", "--root", str(checkout)]) == 1
    assert "problem: versions: pip install" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "version", "why"), [("fastapi", "0.151.0", "server"), ("sqlalchemy", "2.1.9", "sched")]
)
def test_versions_that_break_prefect_are_named_with_the_reason(checkout, found, monkeypatch, name, version, why):
    pretend(monkeypatch, **{name: version})
    check = found(checkout, name)
    assert check.level == "problem"
    assert why in check.finding


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_packages_that_change_results_are_a_problem(checkout, found, monkeypatch, name):
    pretend(monkeypatch, **{name: "1.0"})
    assert found(checkout, name).level == "problem"
