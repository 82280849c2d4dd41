"""A real package with fresh weights before real questions, as the step quantize and a promotion ask it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinygptv.evaluation.asking import ask
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.package import PackageJob, answer_all, answers_of, package_asking, package_identity
from tinygptv.evaluation.presets import stage_asking
from tinygptv.evaluation.questions import open_questions
from tinygptv.ground.errors import DataError
from tinygptv.ground.files import read_json
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.int8 import save_quantized


@pytest.fixture
def job(smoke, small_shards, make_model, processor, tmp_path) -> PackageJob:
    package = tmp_path / "model"
    package.mkdir()
    save_quantized(VisionLanguageModel(make_model(3), processor), package, outlier_threshold=0.0, max_new_tokens=4)
    one = smoke.runtime.model_copy(update={"threads": 1, "deterministic": False})
    config = smoke.model_copy(
        update={"runtime": one, "evaluate": smoke.evaluate.model_copy(update={"max_new_tokens": 4})}
    )
    return PackageJob(
        config=config,
        seed=7,
        shards=small_shards,
        package=package,
        store=tmp_path / "answers",
        asker="test",
        measured=tmp_path / "measured.json",
        alone=1,
    )


def test_a_package_says_in_its_own_words_what_the_profile_would_ask_it_in(job):
    """The numbers of ``quantize.json`` and of a gate are of equal prompts, passes and longest answers."""
    answer_all(job)
    config = job.config
    questions = open_questions(job.shards, "test", asks_of(config))
    own = package_asking(config, "as_trained")
    how = replace(stage_asking(config, "stage4", "as_trained"), batch_size=own.batch_size)
    assert how.prompts is not None and own.prompts is None
    said = list(ask(lambda: VisionLanguageModel.from_folder(job.package), "", questions, how, None))
    assert len(said) == len(questions) > 100
    assert list(answers_of(job)) == said


def test_what_is_measured_where_answers_are_new_and_where_they_are_kept(job):
    class Complete:
        waited = 0

        def wait(self) -> None:
            self.waited += 1

    complete = Complete()
    answer_all(job, complete)
    measured = read_json(job.measured)
    assert set(measured) == {"questions_per_second", "tokens_per_second", "peak_rss_mib", "latency_seconds"}
    assert all(value > 0 for value in measured.values()) and complete.waited == 1
    answer_all(job)
    assert set(read_json(job.measured)) == {"peak_rss_mib", "latency_seconds"}


def test_answers_are_those_of_this_package(job):
    answer_all(job)
    first = package_identity(job.package)
    (job.package / "README.md").write_text("its card says what came of it")
    assert package_identity(job.package) == first and list(answers_of(job))
    (job.package / "generation_config.json").write_text("{}")
    assert package_identity(job.package) != first
    with pytest.raises(DataError, match="run the command again"):
        next(answers_of(job))
