from __future__ import annotations

import os
from pathlib import Path

from tinygptv.doctor import machine


def test_a_full_disk(checkout, found, monkeypatch):
    monkeypatch.setattr(machine, "LEAST_FREE_GB", 10**9)
    assert found(checkout, "disk").level == "problem"


def test_a_folder_that_cannot_be_written(checkout, found, monkeypatch):
    (checkout / "data").mkdir()
    real = os.access  # root may write everywhere, whatever the mode says
    monkeypatch.setattr(machine.os, "access", lambda path, mode: Path(path).name != "data" and real(path, mode))
    assert found(checkout, "data/").level == "problem"
    assert found(checkout, "reports/").level == "ok"
