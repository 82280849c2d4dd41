"""The stand-ins: what they leave, and that their loss curves can be read again."""

from __future__ import annotations

import shutil

import pytest

from tinygptv.config import Published
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.views import write_views
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
    job = standins.StandInJob(smoke, 7, small_shards.parent, tmp_path)
    assert job.training_shards() == [sorted(small_shards.glob("train-*.tar"))] != [[]]
    assert job.threads == max(1, smoke.runtime.threads // 2)


def test_a_job_reads_the_sets_of_its_section(smoke, small_shards, tmp_path):
    for name in ("easy_vqa", "cats", "birds"):
        write_shards(tmp_path / name, "train", read_samples(sorted(small_shards.glob("val-*.tar"))), 4)
    settings = smoke.backbones.model_copy(update={"data": ("birds", "easy_vqa")})
    job = standins.StandInJob(smoke.model_copy(update={"backbones": settings}), 7, tmp_path, tmp_path)
    assert [{path.parent.name for path in paths} for paths in job.training_shards()] == [{"birds"}, {"easy_vqa"}]
    absent = settings.model_copy(update={"data": ("dogs",)})
    with pytest.raises(DataError, match=r"no train-\*\.tar of the data set dogs; run `dvc repro shards`"):
        standins.make(standins.StandInJob(smoke.model_copy(update={"backbones": absent}), 7, tmp_path, tmp_path))


def test_a_set_that_was_written_by_hand_since_trains_nothing(smoke, small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "easy_vqa")
    write_views(tmp_path, smoke)
    job = standins.StandInJob(smoke, 7, tmp_path, tmp_path)
    assert job.training_shards() == [sorted((tmp_path / "easy_vqa").glob("train-*.tar"))]
    write_shards(tmp_path / "easy_vqa", "train", read_samples(sorted(small_shards.glob("val-*.tar"))), 4)
    with pytest.raises(DataError, match=r"backbones\.json"):
        standins.make(job)


def test_without_shards_nothing_is_trained(smoke, tmp_path):
    with pytest.raises(DataError, match="dvc repro shards"):
        standins.make(standins.StandInJob(smoke, 7, tmp_path, tmp_path))


def test_published_backbones_are_no_stand_ins(smoke, tmp_path):
    published = Published(source="hub", language_model="a/b", image_encoder="c/d", folder="")
    job = standins.StandInJob(smoke.model_copy(update={"backbones": published}), 7, tmp_path, tmp_path)
    with pytest.raises(AssertionError):
        _ = job.settings
