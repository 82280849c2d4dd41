from __future__ import annotations

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from tinygptv import doctor
from tinygptv.cli import main
from tinygptv.doctor import Check, examine

PYPROJECT = '[project]\nname = "x"\ndependencies = ["psutil=={psutil}", "sqlalchemy[asyncio]>=2.0,<2.1"]\n'


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(doctor, "LEAST_FREE_GB", 0)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text("register: {model_name: tinygptv}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(psutil=metadata.version("psutil")))
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path


def found(root: Path, name: str) -> Check:
    checks = [check for check in examine(root) if check.name == name]
    assert len(checks) == 1
    return checks[0]


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    real = metadata.version
    monkeypatch.setattr(doctor.metadata, "version", lambda name: versions.get(name) or real(name))


def test_all_is_well(checkout, capsys):
    assert [check for check in examine(checkout) if check.level == "problem"] == []
    assert main(["doctor", "--root", str(checkout)]) == 0
    assert "python" in capsys.readouterr().out


def test_the_project_s_own_pins_are_installed():
    root = Path(__file__).resolve().parents[1]
    assert found(root, "versions").level == "ok", found(root, "versions")


def test_a_wrong_a_missing_and_a_pulled_in_version_are_named(checkout, capsys):
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
def test_versions_that_break_prefect_are_named_with_the_reason(checkout, monkeypatch, name, version, why):
    pretend(monkeypatch, **{name: version})
    check = found(checkout, name)
    assert check.level == "problem"
    assert why in check.finding


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_packages_that_change_results_are_a_problem(checkout, monkeypatch, name):
    pretend(monkeypatch, **{name: "1.0"})
    assert found(checkout, name).level == "problem"


def test_a_full_disk(checkout, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE_GB", 10**9)
    assert found(checkout, "disk").level == "problem"


def test_a_folder_that_cannot_be_written(checkout, monkeypatch):
    (checkout / "data").mkdir()
    real = os.access  # root may write everywhere, whatever the mode says
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: Path(path).name != "data" and real(path, mode))
    assert found(checkout, "data/").level == "problem"
    assert found(checkout, "reports/").level == "ok"


def test_dvc_s_lock(checkout):
    lock = checkout / ".dvc" / "tmp" / "rwlock"
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert found(checkout, "DVC's lock").finding == "free"
    lock.write_text(json.dumps({"/x": {"write": {"pid": ended.pid, "cmd": "dvc"}}}))
    assert "gone" in found(checkout, "DVC's lock").finding
    assert f"rm {lock}" in found(checkout, "DVC's lock").fix
    lock.write_text(json.dumps({"/x": {"read": [{"pid": os.getpid(), "cmd": "dvc"}]}}))
    assert str(os.getpid()) in found(checkout, "DVC's lock").finding
    lock.write_text("{")
    assert found(checkout, "DVC's lock").level == "problem"


def test_an_empty_registry_beside_a_finished_register_step(checkout):
    assert found(checkout, "registry").level == "ok"
    (checkout / "dvc.lock").write_text("schema: '2.0'\nstages:\n  register:\n    cmd: x\n")
    check = found(checkout, "registry")
    assert check.level == "problem"
    assert check.fix == "dvc repro -f -s register"
    assert not (checkout / "mlflow.db").exists()  # looking creates nothing


def test_a_filled_registry(checkout, monkeypatch):
    (checkout / "dvc.lock").write_text("schema: '2.0'\nstages:\n  register:\n    cmd: x\n")
    monkeypatch.setattr(doctor, "_count_versions", lambda root, name: 2)
    assert found(checkout, "registry").finding == "2 versions of tinygptv"
