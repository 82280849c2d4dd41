"""A registry with two 8-bit packages, and ``tinygptv serve`` as a person starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.serving.helpers import TOKENS, strong_model
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.int8 import save_quantized
from tinygptv.promotion.aliases import make_champion, only_promotion
from tinygptv.tracking.client import Tracking
from tinygptv.tracking.registry import CHAMPION, PASSED_TAG, add_package, version_by_alias
from tinygptv.tracking.version_tags import Lineage

NAME = "tinygptv"
PATIENCE = 60.0


@dataclass(frozen=True)
class Store:
    """A checkout whose registry has versions 1 and 2; version 1 is champion, 2 is challenger."""

    root: Path
    tracking: Tracking
    offline: dict[str, VisionLanguageModel]
    """Address of a version to its package, opened without a service."""

    def promote(self, version: str) -> None:
        """As `tinygptv promote` does once the gate is passed."""
        with only_promotion(self.root, NAME, PATIENCE):
            former = version_by_alias(self.tracking, NAME, CHAMPION)
            if former != version:
                make_champion(self.tracking, NAME, version, former)

    def move_alias(self, version: str) -> None:
        """As somebody who can write into the registry."""
        self.tracking.mlflow.set_registered_model_alias(NAME, CHAMPION, version)


def make_store(root: Path, make_model: Callable[..., Any], processor: Any) -> Store:
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    tracking, offline = Tracking.connect(root), {}
    for number in (1, 2):
        folder = root / "packages" / str(number)
        folder.parent.mkdir(exist_ok=True)
        save_quantized(
            strong_model(make_model(number), processor, 10 + number),
            folder,
            outlier_threshold=0.0,
            max_new_tokens=TOKENS,
        )
        lineage = Lineage(profile="tiny", git_sha="c" * 40, digests={}, quantized={}, unquantized={}, run_id="")
        version, _ = add_package(tracking, NAME, folder, lineage)
        tracking.mlflow.set_model_version_tag(NAME, version, PASSED_TAG, "true")
        offline[f"models:/{NAME}/{version}"] = VisionLanguageModel.from_folder(folder)
    make_champion(tracking, NAME, "1", None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return Store(root, tracking, offline)


class Service:
    """A running ``tinygptv serve`` or ``web``."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def stop(self) -> int:
        """Ask it to end, as ``kill`` does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def service(root: Path, command: str, arguments: Sequence[str] = ()) -> Iterator[Service]:
    """Start it on a free port and wait until it says where it is."""
    line = [sys.executable, "-m", "tinygptv.cli", command, "--port", "0", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with (root / f"{command}.log").open("w") as log:
        process = subprocess.Popen(line, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    guard = threading.Timer(120, process.kill)
    guard.start()
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), (root / f"{command}.log").read_text()
        yield Service(process, url)
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
