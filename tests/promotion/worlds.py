"""A registry of versions that have a lineage, packages that answer at once, real questions of a small test set.

A package is a few bytes that say how many of a hundred questions it gets right. What asks it (``examine``) takes the
place of the process that would open a model; everything else is the real thing.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.tracking.pipelines import COMMIT, Recorded
from tinygptv.config import Config, DataSet, Evaluate, Gate, Quantize, Register, Runtime
from tinygptv.config.profiles import Profile
from tinygptv.evaluation.predictions import prediction
from tinygptv.evaluation.questions import Question
from tinygptv.evaluation.scores import Judge
from tinygptv.ground.dvc import dvc_md5
from tinygptv.ground.files import write_json, write_text
from tinygptv.model.answerer import Likelihood, Response
from tinygptv.promotion.contest import Answers, Exam, exam_of
from tinygptv.promotion.register import Registration, register_package
from tinygptv.tracking.client import Tracking
from tinygptv.tracking.registry import version_by_alias, weights_folder
from tinygptv.tracking.version_tags import Lineage, outputs_of

ROOT = Path(__file__).resolve().parents[2]
GATE = Gate(
    min_value={"easy_vqa": 0.5},
    margin={"easy_vqa": 0.05},
    resamples=1000,
    seed=7,
    min_agreement=0.9,
    max_bytes=10_000,
    max_latency_seconds=None,
)
EASY = {"easy_vqa": DataSet(format="easy_vqa", licence="MIT")}
PAUSE = "TEST_PAUSE"
"""Seconds that each package takes to answer."""


def examine(exam: Exam, package: Path) -> Answers:
    """Ask a package of this file: the first so many of each hundred questions are right."""
    time.sleep(float(os.environ.get(PAUSE, "0")))
    right = json.loads((package / "config.json").read_bytes())["right"]
    given = [(question, said(question, place % 100 < right)) for place, question in enumerate(exam.questions)]
    return Answers(exam.questions.digest, given, 0.01)


def said(question: Question, right: bool) -> Response:
    """An answer; where yes and no are weighed, the right one is the likelier, or the other."""
    likely = Likelihood(logprob=-0.1, tokens=1), Likelihood(logprob=-3.0, tokens=1)
    choices = likely if (question.truth == "yes") == right else likely[::-1]
    return Response(text=question.truth if right else "nothing", tokens=1, cut=False, logprob=-0.1, choices=choices)


def profile_of(name: str, gate: Gate = GATE, data: Mapping[str, DataSet] = EASY) -> Profile:
    """The sections that a promotion reads."""
    config = Config.model_construct(
        data=data,
        runtime=Runtime(device="cpu", dtype="float32", threads=1, deterministic=True),
        evaluate=Evaluate(
            benchmarks=tuple(data),
            presets=("as_trained",),
            batch_size=8,
            max_new_tokens=4,
            held_out_questions=4,
            grid_images=4,
        ),
        quantize=Quantize(outlier_threshold=0.0, batch_size=8),
        register_=Register(model_name=name, gate=gate),
    )
    return Profile("tiny", 7, config)


@dataclass
class World:
    """A checkout and its registry."""

    root: Path
    tracking: Tracking
    pipeline: Recorded
    name: str = "tinygptv-duel"
    gate: Gate = GATE
    data: Mapping[str, DataSet] = field(default_factory=lambda: EASY)

    @property
    def profile(self) -> Profile:
        return profile_of(self.name, self.gate, self.data)

    @property
    def exam(self) -> Exam:
        return exam_of(self.root, self.profile, self.root / "data" / "tiny" / "shards")

    def numbers(self, right: int) -> dict[str, Any]:
        """What a report has under each benchmark for a package with so many of a hundred."""
        exam = self.exam
        judge = Judge(exam.questions.asks, {}, "as_trained")
        for place, question in enumerate(exam.questions):
            judge.add(question, said(question, place % 100 < right))
        return judge.result()["benchmarks"]

    @property
    def client(self) -> Any:
        return self.tracking.mlflow

    def alias(self, name: str) -> str | None:
        return version_by_alias(self.tracking, self.name, name)

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(self.name, version).tags)

    def register(
        self,
        right: int,
        told: Mapping[str, Any] | None = None,
        pipeline: Recorded | None = None,
        experiment: Mapping[str, str] | None = None,
    ) -> Any:
        """Let a pipeline end in a package that gets so many of a hundred questions right.

        Args:
            right: that number.
            told: what the report says of each benchmark in place of the truth.
            pipeline: whose earlier steps it goes on from.
            experiment: the tags that name it, if it is one.
        """
        runs = pipeline or self.pipeline
        data = self.root / "data" / "tiny"
        for step in ("evaluate", "quantize"):
            shutil.rmtree(data / step, ignore_errors=True)
        write_json(data / "quantize" / "model" / "config.json", {"right": right, "salt": uuid.uuid4().hex})
        write_text(data / "quantize" / "model" / "model.safetensors", "weights")
        answers = examine(self.exam, data / "quantize" / "model")
        write_json(data / "evaluate" / "predictions.json", [prediction(*pair) for pair in answers.given])
        entries = {name: {**entry, **(told or {})} for name, entry in self.numbers(right).items()}
        md5 = {**runs.md5, **{step: dvc_md5(data / step) for step in ("evaluate", "quantize")}}
        mine = replace(runs, md5=md5, runs={})
        for step in ("evaluate", "quantize"):
            mine.run(step, seconds=200)
            store(cache_of(self.root), data / step)
        running = mine.run("register", seconds=300, status="RUNNING")
        report = {"benchmarks": entries, "agreement": {"value": 1.0, "n": len(answers.given)}}
        start = {"held_out": {"start": {name: {"value": 0.05} for name in entries}}}
        lineage = Lineage(
            profile="tiny",
            git_sha=COMMIT,
            digests=md5,
            quantized=report,
            unquantized={**report, **start},
            run_id=running,
            experiment=experiment or {},
        )
        done: Registration = register_package(
            self.root, data / "quantize" / "model", self.profile, lineage, examine=examine
        )
        self.client.set_tag(running, "model.version", f"{self.name}/{done.version}")
        self.client.set_terminated(running, "FINISHED")
        return done

    def tell_the_truth(self, version: str, right: int, **instead: Any) -> None:
        """Let a version's tags say what a package with so many of a hundred reaches, but for these values."""
        entries = {name: {**entry, **instead} for name, entry in self.numbers(right).items()}
        outputs = outputs_of(self.client.get_model_version(self.name, version).tags)
        report = {"benchmarks": entries, "agreement": 1.0}
        self.tag(version, "record", json.dumps({"outputs": outputs, "report": report}))
        for name, entry in entries.items():
            self.tag(version, f"metric.{name}", str(entry["value"]))

    def tag(self, version: str, key: str, value: str) -> None:
        self.client.set_model_version_tag(self.name, version, key, value)

    def package(self, version: str) -> Path:
        return weights_folder(f"models:/{self.name}/{version}", self.root)

    def refused(self, right: int, **others: Any) -> str:
        """Register a package that the gate refuses; its version."""
        done = self.register(right, **others)
        assert not done.decision.passed and "champion" not in done.aliases
        return str(done.version)


def cache_of(root: Path) -> Path:
    """Where the checkout keeps what DVC would."""
    return root / ".dvc" / "cache"


def store(cache: Path, folder: Path) -> str:
    """Put a folder where DVC keeps objects; its digest."""
    objects, listing = cache / "files" / "md5", []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        listing.append({"md5": dvc_md5(path), "relpath": path.relative_to(folder).as_posix()})
        put(objects, listing[-1]["md5"], path.read_bytes())
    md5 = dvc_md5(folder)
    put(objects, md5, json.dumps(listing).encode())
    return md5


def put(objects: Path, md5: str, content: bytes) -> None:
    """Write one object."""
    (objects / md5[:2]).mkdir(parents=True, exist_ok=True)
    (objects / md5[:2] / md5[2:]).write_bytes(content)


def make_root(folder: Path, shards: Path) -> Path:
    """A checkout with the graph and the shards."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    shutil.copytree(shards, folder / "data" / "tiny" / "shards" / "easy_vqa")
    return folder


def earlier_steps(tracking: Tracking, shards: Path) -> Recorded:
    """Runs of all steps up to stage 4, on these shards."""
    made = Recorded(tracking)
    made.md5["shards"] = store(cache_of(shards.parents[2]), shards)
    for number, step in enumerate(("download", "shards", "backbones", "features", *(f"stage{n}" for n in range(1, 5)))):
        made.runs[step] = made.run(step, seconds=10 * number)
    return made


def make_duel(root: Path, tracking: Tracking) -> World:
    """A model with three versions: 1 is champion, 2 was refused, 3 is the challenger and better than the champion."""
    made = World(root, tracking, earlier_steps(tracking, root / "data" / "tiny" / "shards"))
    assert made.register(80).aliases == ("challenger", "champion")
    made.refused(60)
    made.refused(95, told={"value": 0.0})
    made.tell_the_truth("3", 95)
    return made
