"""A step's context for tests of ``download`` and ``shards``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tinygptv.config import EasyVQA, Shards


@dataclass
class RecordingRun:
    """Keeps what a step reports."""

    values: dict[str, Any] = field(default_factory=dict)

    def params(self, values: dict[str, Any]) -> None:
        self.values.update(values)

    metrics = params

    def artifact(self, path: Path, folder: str = "") -> None:
        assert path.is_file()
        self.values[f"artifact {path.name}"] = path.read_bytes()


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Any]:
    """``make_context(step, root)``: steps read and write ``root/<step>``."""

    def make(step: str, root: Path = tmp_path, **changes: Any) -> Any:
        out = root / step
        out.mkdir(parents=True, exist_ok=True)
        shards = {"val_images": 8, "images_per_shard": 16, "max_rejected": 0.0}
        shards.update({key: value for key, value in changes.items() if key in shards})
        config = SimpleNamespace(
            download=EasyVQA(source="easy_vqa", sha256=changes.get("sha256", "0" * 64)), shards=Shards(**shards)
        )
        state = tmp_path / "state" / step
        return SimpleNamespace(out=out, state=state, run=RecordingRun(), config=config, input=lambda name: root / name)

    return make
