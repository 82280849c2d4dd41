"""A small checkout of the smoke profile, made once, in which steps run for real through their entry point.

A plugin of pytest, loaded by tests/conftest.py: the tests of the steps and the drills share what is made once.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tinygptv.config import Config
from tinygptv.config.profiles import read_config
from tinygptv.data.formats import easy_vqa
from tinygptv.data.images import read_image
from tinygptv.data.manifest import RawFile, write_manifest
from tinygptv.data.records import ImageInfo, ImageRecord, ImageSample, image_key
from tinygptv.data.source import Source, open_source, raw_files
from tinygptv.ground.files import sha256_file
from tinygptv.ground.processes import PR_SET_PDEATHSIG
from tinygptv.steps import __main__ as entry
from tinygptv.steps import harness
from tinygptv.tracking import runs

ROOT = Path(__file__).resolve().parents[1]
TRAIN_IMAGES, TEST_IMAGES = 40, 10
SMALLER = {
    "format: easy_vqa": "format: easy_vqa\n    images: raw",
    "split: {val: 0.1}": "split: {val: 0.2}",
    "images_per_shard: 1000": "images_per_shard: 16",
    "steps: 20": "steps: 2",  # of the stand-ins
    "warmup_steps: 5": "warmup_steps: 1",
    "hold_steps: 5": "hold_steps: 0",
    "reading_steps: 8": "reading_steps: 1",
    "batch_size: 16": "batch_size: 8",
    "micro_batch_size: 2": "micro_batch_size: 4",
    "threads: 2": "threads: 1",  # two would wait for one another on a busy machine
}


class OfflineRun(runs.StepRun):
    """The real run and its spool, without the thread that imports MLflow: that would cost seconds in every test."""

    def _ship(self) -> None:
        self._tried.set()
        self._done.set()


@dataclass(frozen=True)
class Checkout:
    """A folder with configuration and data in which steps are run."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data" / "smoke"

    @property
    def state(self) -> Path:
        return self.root / ".state" / "smoke"

    @property
    def config_path(self) -> Path:
        return self.root / "configs" / "smoke.yaml"

    @property
    def config(self) -> Config:
        return read_config(self.config_path)

    def edit(self, old: str, new: str) -> None:
        """Replace a text that the configuration has."""
        content = self.config_path.read_text()
        assert old in content
        self.config_path.write_text(content.replace(old, new))

    def outputs(self) -> dict[str, bytes]:
        """Every file that counts as a result."""
        folders = (self.root / "data", self.root / "reports")
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}


def run_step(root: Path, step: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """Call ``python -m tinygptv.steps STEP`` in this process; what it changes in the process is put back."""
    with monkeypatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        patch.delenv("TINYGPTV_PIPELINE_ID", raising=False)
        patch.setattr(harness, "__file__", str(root / "src" / "tinygptv" / "steps" / "harness.py"))
        patch.setattr(runs, "StepRun", OfflineRun)
        patch.setattr(sys, "argv", ["steps", step, "--profile", "smoke", *options])
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            return entry.main()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)


def new_root(folder: Path) -> Path:
    """Configuration and graph of this checkout, for few images."""
    (folder / "configs").mkdir(parents=True)
    content = (ROOT / "configs" / "smoke.yaml").read_text()
    for old, new in SMALLER.items():
        assert old in content
        content = content.replace(old, new)
    write_raw(folder / "raw", first_images())
    whole = read_config(ROOT / "configs" / "smoke.yaml").data["easy_vqa"].sha256
    path = folder / "configs" / "smoke.yaml"
    path.write_text(content)
    path.write_text(content.replace(whole, write_manifest(folder / "manifest", raw_manifest(folder))))
    (folder / "params.yaml").write_text("profile: smoke\nseed: 7\n")
    shutil.copy(ROOT / "dvc.yaml", folder)
    return folder


def bare_clone(folder: Path) -> Path:
    """A clone in which nothing was made: configuration, graph, an empty lock, an empty folder ``docs``, one commit."""
    (folder / "docs").mkdir()
    shutil.copytree(ROOT / "configs", folder / "configs")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


def first_images() -> dict[str, bytes]:
    """The first images of easy-VQA with their questions, named as in the package."""
    data = easy_vqa.folder()
    files = {"answers.txt": (data / "answers.txt").read_bytes()}
    for split, count in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
        questions = json.loads((data / split / "questions.json").read_bytes())
        files[f"{split}/questions.json"] = json.dumps([q for q in questions if q[2] < count]).encode()
        for number in range(count):
            files[f"{split}/images/{number}.png"] = (data / split / "images" / f"{number}.png").read_bytes()
    return files


def write_raw(folder: Path, files: dict[str, bytes]) -> Path:
    """Files, named as in the package, below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def raw_manifest(root: Path) -> Iterator[RawFile]:
    """The raw files of a checkout's one data set."""
    settings = read_config(root / "configs" / "smoke.yaml").data["easy_vqa"]
    for name, path in raw_files(settings, root):
        yield RawFile(name, path.stat().st_size, sha256_file(path))


def raw_source(root: Path) -> Source:
    """A checkout's one data set, ready to be read."""
    settings = read_config(root / "configs" / "smoke.yaml").data["easy_vqa"]
    write_manifest(root / "manifest", raw_manifest(root))
    return open_source("easy_vqa", settings, root, root / "manifest")


def small_samples(root: Path) -> Iterator[tuple[str, ImageSample]]:
    """The samples of a checkout's raw files with their splits, the last training images held out."""
    found = list(easy_vqa.read(raw_source(root)))
    for path, items in groupby(found, key=lambda item: item.image.path):
        records = [(item.split, replace(item.record, dataset="easy_vqa")) for item in items]
        content = path.read_bytes()
        image, sha256 = read_image(content, path.name), hashlib.sha256(content).hexdigest()
        key = image_key(sha256)
        info = ImageInfo(f"{key}.png", image.width, image.height, sha256)
        record = ImageRecord(key, info, "easy_vqa", "MIT", tuple(record for _, record in records))
        held_out = "val" if int(path.stem) >= 0.8 * TRAIN_IMAGES else "train"
        yield records[0][0] or held_out, ImageSample(record, image, content)


def make_shards(folder: Path, patches: pytest.MonkeyPatch) -> Checkout:
    """A checkout in which ``download`` and ``shards`` have run."""
    made = Checkout(new_root(folder))
    for step in ("download", "shards"):
        assert run_step(made.root, step, patches) == 0
    return made


def make_stage1(root: Path, with_shards: Checkout, patches: pytest.MonkeyPatch) -> Checkout:
    """A checkout in which everything up to ``stage1`` has run.

    The two halves of ``backbones`` run one after the other in this process, which saves the start of another.
    """
    from tinygptv.model.weights import describe_backbones
    from tinygptv.pretraining import standins

    made = Checkout(shutil.copytree(with_shards.root, root))
    folder = made.data / "backbones"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standins, "TOKENIZER_TEXTS", 50)
        job = standins.StandInJob(made.config, 7, made.data / "shards", folder)
        standins.pretrain_vision(job)
        standins.pretrain_text(job)
    describe_backbones(folder, made.config.model.model_dump(mode="json"), {})
    for step in ("features", "stage1"):
        assert run_step(made.root, step, patches) == 0
    return made


@pytest.fixture(scope="session")
def patches() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="session")
def with_shards(tmp_path_factory: pytest.TempPathFactory, patches: pytest.MonkeyPatch) -> Checkout:
    """``download`` and ``shards`` have run. Read only."""
    return make_shards(tmp_path_factory.mktemp("shards"), patches)


@pytest.fixture(scope="session")
def with_stage1(
    with_shards: Checkout, tmp_path_factory: pytest.TempPathFactory, patches: pytest.MonkeyPatch
) -> Checkout:
    """Everything up to ``stage1`` has run. Read only."""
    return make_stage1(tmp_path_factory.mktemp("stage1") / "checkout", with_shards, patches)


@pytest.fixture
def shards_checkout(with_shards: Checkout, tmp_path: Path) -> Checkout:
    """A checkout of the test's own in which ``shards`` has run."""
    return Checkout(shutil.copytree(with_shards.root, tmp_path / "checkout"))


@pytest.fixture
def checkout(with_stage1: Checkout, tmp_path: Path) -> Checkout:
    """A checkout of the test's own in which everything up to ``stage1`` has run."""
    return Checkout(shutil.copytree(with_stage1.root, tmp_path / "checkout"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a step of a checkout in this process and return the exit code."""
    return lambda checkout, step, *options: run_step(checkout.root, step, monkeypatch, *options)


@pytest.fixture
def refused(run: Callable[[Checkout, str], int], capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A step is refused as a user must see it: exit code 2, one line with these words, results as they were."""

    def check(checkout: Checkout, step: str, *words: str) -> str:
        before = checkout.outputs()
        capfd.readouterr()
        code = run(checkout, step)
        error = capfd.readouterr().err
        assert code == 2, error
        one_line(error, step, *words)
        assert checkout.outputs() == before
        return error

    return check


def one_line(error: str, step: str, *words: str) -> None:
    """stderr is one line that begins with the step and has these words."""
    assert error.count("\n") == 1, error
    assert error.startswith(f"{step}: "), error
    for word in words:
        assert word in error, (word, error)


@pytest.fixture
def one_error_line() -> Callable[..., None]:
    return one_line


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the real command line in a process of its own, with the checkout's own code."""
    started: list[subprocess.Popen[str]] = []
    program = [sys.executable, "-c"]

    def begin(checkout: Checkout, step: str, *, before: str = "", env: dict[str, str] | None = None) -> Any:
        if not (checkout.root / "src").exists():
            shutil.copytree(ROOT / "src", checkout.root / "src")
        code = f"{before}\nimport runpy\nrunpy.run_module('tinygptv.steps', run_name='__main__', alter_sys=True)"
        process = subprocess.Popen(
            [*program, code, step, "--profile", "smoke"] if before else [sys.executable, "-m", "tinygptv.steps", step],
            cwd=checkout.root,
            env={
                **{
                    name: value
                    for name, value in os.environ.items()
                    if name not in ("DVC_ROOT", "TINYGPTV_PIPELINE_ID")
                },
                "PYTHONPATH": str(checkout.root / "src"),
                "PYTHONDONTWRITEBYTECODE": "1",
                **(env or {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
