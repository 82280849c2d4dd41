"""A profile ``mine`` that starts from finished weights, beside ``smoke`` in one checkout."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.checkouts import run_step
from tinygptv.cli import main
from tinygptv.config.profiles import read_config
from tinygptv.ground.files import read_json
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml


class Mine:
    """A checkout with the outputs of ``smoke`` and a profile ``mine``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.root, self.source, self.data = root, root / "data" / "smoke", root / "data" / "mine"
        self.patch, self._capfd = monkeypatch, capfd

    def write(self, start: str, idle: tuple[str, ...] = STAGES, **sections) -> None:
        """The profile: that of smoke, but for where it starts and the stages that train nothing."""
        content = read_yaml(self.root / "configs" / "smoke.yaml")
        content |= {"init": {"from": start}, "backbones": {"source": "init"}, **sections}
        content |= {stage: content[stage] | {"epochs": 0} for stage in idle}
        YAML().dump(content, self.root / "configs" / "mine.yaml")

    @property
    def config(self):
        return read_config(self.root / "configs" / "mine.yaml")

    def run(self, *steps: str) -> None:
        for step in steps:
            assert run_step(self.root, step, self.patch, "--profile", "mine") == 0, self._capfd.readouterr().err

    def refused(self, step: str, *words: str) -> None:
        self._capfd.readouterr()
        code, error = run_step(self.root, step, self.patch, "--profile", "mine"), self._capfd.readouterr().err
        assert (code, error.count("\n")) == (2, 1), error
        assert all(word in error for word in words), error

    def manifest(self, step: str) -> dict:
        return read_json(self.data / step / "manifest.json")

    def import_stage(self, folder: Path, stage: str) -> int:
        return main(["import-stage", str(folder), stage, "--profile", "mine", "--root", str(self.root)])
