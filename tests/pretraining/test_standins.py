"""The stand-ins: what they leave, and that their loss curves can be read again."""

from __future__ import annotations

import pytest

from tinygptv.config import Published
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json
from tinygptv.pretraining import standins


def test_a_curve_has_means_of_windows_and_the_last_step(tmp_path, monkeypatch):
    monkeypatch.setattr(standins, "LOG_EVERY", 2)
    curve = standins.Curve("text", 5)
    with curve.progress:
        for step, loss in enumerate((4.0, 2.0, 3.0, 1.0, 7.0), 1):
            curve.add(step, loss)
    curve.write(tmp_path)
    points = [{"step": 2, "loss": 3.0}, {"step": 4, "loss": 2.0}, {"step": 5, "loss": 7.0}]
    assert standins.read_curve(standins.curve_path(tmp_path, "text")) == points
    assert read_json(tmp_path / "text_loss.json") == points


def test_a_job_sees_training_shards_only_and_half_of_the_threads(smoke, small_shards, tmp_path):
    job = standins.StandInJob(smoke, 7, small_shards, tmp_path)
    assert job.training_shards
    assert all(path.name.startswith("train-") for path in job.training_shards)
    assert job.threads == max(1, smoke.runtime.threads // 2)


def test_without_shards_nothing_is_trained(smoke, tmp_path):
    with pytest.raises(DataError, match="dvc repro shards"):
        standins.make(standins.StandInJob(smoke, 7, tmp_path, tmp_path))


def test_published_backbones_are_no_stand_ins(smoke, tmp_path):
    published = Published(source="hub", language_model="a/b", image_encoder="c/d", folder="")
    job = standins.StandInJob(smoke.model_copy(update={"backbones": published}), 7, tmp_path, tmp_path)
    with pytest.raises(AssertionError):
        _ = job.settings
