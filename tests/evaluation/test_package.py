"""A real package with fresh weights before real questions, as the step quantize and a promotion ask it."""

from __future__ import annotations

import pytest

from tinygptv.data.summary import TEST
from tinygptv.evaluation import old_answering as answering
from tinygptv.evaluation.benchmarks.table import suites_of
from tinygptv.evaluation.package import PackageJob, answer_all
from tinygptv.evaluation.questions import list_test_set, open_split
from tinygptv.evaluation.stages import prompts_of
from tinygptv.ground.files import read_json


@pytest.fixture
def job(smoke, small_shards, make_model, processor, tmp_path) -> PackageJob:
    from tinygptv.model.inference import VisionLanguageModel
    from tinygptv.model.int8 import save_quantized

    package = tmp_path / "model"
    package.mkdir()
    save_quantized(VisionLanguageModel(make_model(3), processor), package, outlier_threshold=0.0, max_new_tokens=4)
    one = smoke.runtime.model_copy(update={"threads": 1, "deterministic": False})
    config = smoke.model_copy(
        update={"runtime": one, "evaluate": smoke.evaluate.model_copy(update={"max_new_tokens": 4})}
    )
    return PackageJob(config, 7, small_shards, package, tmp_path / "answers.json", tmp_path / "measured.json", alone=1)


def test_a_package_says_in_its_own_words_what_the_profile_would_ask_it_in(job):
    """The numbers of ``quantize.json`` and of a gate are of equal prompts, batches and longest answers."""
    from tinygptv.model.inference import VisionLanguageModel

    answer_all(job)
    config, size = job.config, job.config.quantize.batch_size
    suites = suites_of(config.data)
    questions = list_test_set(job.shards, suites)
    model = VisionLanguageModel.from_folder(job.package)
    features = answering.ImageFeatures(open_split(job.shards, TEST, suites), size)
    prompts, longest = prompts_of(config, "stage4"), config.stage4.max_answer_tokens
    said = answering.ask(model, features, questions, prompts, config.evaluate, size, longest)
    assert read_json(job.answers) == answering.predictions(questions, said)


def test_speed_and_memory_are_measured_and_latency_where_it_is_asked_for(job, tmp_path):
    class Complete:
        waited = 0

        def wait(self) -> None:
            self.waited += 1

    complete = Complete()
    answer_all(job, complete)
    measured = read_json(job.measured)
    assert set(measured) == {"questions_per_second", "tokens_per_second", "peak_rss_mib", "latency_seconds"}
    assert all(value > 0 for value in measured.values()) and complete.waited == 1
