"""lmms-eval itself, from its command line and without a network, judged by the file of results it writes.

It ends with 0 whatever happens, so its exit code says nothing.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinygptv.config.profiles import read_profile
from tinygptv.evaluation.asking import ask
from tinygptv.evaluation.benchmarks.likelihoods import share_of_first
from tinygptv.evaluation.benchmarks.seam import Prediction
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.package import package_asking
from tinygptv.evaluation.questions import evenly_spaced, open_questions
from tinygptv.evaluation.statistics import number
from tinygptv_lmms.asking import as_response
from tinygptv_lmms.data import write_tasks

NO_NETWORK = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
FUNCTIONS = """
def image(row):
    return [row["image"]]

def yes_or_no(row):
    return ["yes", "no"]

def text(row, lmms_eval_specific_kwargs=None, round_idx=None, previous_output=None, previous_round_info=None):
    if round_idx is None:
        return row["instruction"]
    ended = round_idx == 2
    return None, None if ended else "[vqa] what shape is present?", ended, previous_output, "kept"

def heard(row, results):
    return {"heard": results[0]}

def count(answers):
    return sum(map(len, answers)) / len(answers)
"""
COMMON = """
dataset_path: parquet
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
doc_to_visual: !function own.image
doc_to_target: answer
"""
YES_OR_NO = """
task: yes_or_no
output_type: multiple_choice
doc_to_text: instruction
doc_to_choice: !function own.yes_or_no
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
ROUNDS = """
task: rounds
output_type: generate_until_multi_round
doc_to_text: !function own.text
process_results: !function own.heard
generation_kwargs: {max_new_tokens: 8, until: []}
metric_list: [{metric: heard, aggregation: !function own.count, higher_is_better: true}]
"""


def network_can_be_cut() -> bool:
    return subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0


def run(tasks: Path, package: Path, out: Path, names: str, *more: str) -> tuple[dict, dict]:
    """Results of each task, and its samples."""
    command = [
        sys.executable,
        "-m",
        "lmms_eval",
        "--model",
        "tinygptv",
        "--model_args",
        f"pretrained={package},device=cpu",
    ]
    command += ["--tasks", names, "--include_path", str(tasks), "--batch_size", "16"]
    command += ["--output_path", str(out), "--log_samples", *more]
    before = NO_NETWORK if network_can_be_cut() else ()
    environment = os.environ | {"HF_HOME": str(out / "hf"), "HF_HUB_OFFLINE": "0" if before else "1"}
    done = subprocess.run(
        [*before, *command], cwd=out, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    found = sorted(out.rglob("*_results.json"))
    assert len(found) == 1, done.stdout + done.stderr
    samples = {
        name: [json.loads(line) for line in path.read_text().splitlines()]
        for name in names.split(",")
        for path in out.rglob(f"*_samples_{name}.jsonl")
    }
    return json.loads(found[0].read_text())["results"], samples


@pytest.fixture(scope="module")
def with_others(tasks, own_checkout):
    """Beside the tasks of the profile those of a set with choices, and two as others write them."""
    table = pq.read_table(tasks / "tiny_easy_vqa.parquet")
    kept = pa.array([answer in ("yes", "no") for answer in table["answer"].to_pylist()])
    pq.write_table(table.filter(kept).slice(0, 40), tasks / "yes_or_no.parquet")
    (tasks / "own.py").write_text(FUNCTIONS)
    for name, text in (("yes_or_no", YES_OR_NO), ("rounds", ROUNDS)):
        (tasks / f"{name}.yaml").write_text((COMMON + text).replace("FILE", str(tasks / "yes_or_no.parquet")))
    write_tasks(own_checkout, None, tasks / "own", 60)
    return tasks


@pytest.fixture(scope="module")
def expected(root, tasks, answers):
    """Name of a task → what our own metric makes of what `quantize` got for answers to the same records."""
    found = {}
    for asked in asks_of(read_profile(root, "tiny").config):
        rows = pq.read_table(tasks / f"tiny_{asked.name}.parquet").to_pylist()
        metric = asked.benchmark.official[0]
        truths = [json.loads(row["truth"]) for row in rows]
        given = [Prediction(answer=answers[row["id"]]) for row in rows]
        found[f"tiny_{asked.name}"] = metric.name, number(metric, metric.columns(truths, given))
    return found


@pytest.fixture(scope="module")
def by_likelihood(own_checkout, model):
    """Of the set with choices, asked as `evaluate` asks: name of a metric → its value, and the score of each answer."""
    config = read_profile(own_checkout).config
    asks = [ask for ask in asks_of(config) if ask.name == "own"]
    questions = evenly_spaced(open_questions(own_checkout / "data/own/shards", "test", asks), 60)
    said = list(ask(lambda: model, "", questions, package_asking(config, "as_trained"), None))
    truths = [question.annotation for question, _ in said]
    predictions = [asks[0].benchmark.predict(question.annotation, response) for question, response in said]
    values = {m.name: number(m, m.columns(truths, predictions)) for m in asks[0].benchmark.official}
    return values, [prediction.score for prediction in predictions]


@pytest.mark.parametrize("form", [(), ("--force_simple",)], ids=["chat", "simple"])
def test_scores_are_ours(form, with_others, package, tmp_path, expected, by_likelihood, answers):
    others = ["own_own", "rounds", "yes_or_no"] if form else ["own_own", "rounds"]
    results, samples = run(with_others, package, tmp_path, ",".join([*expected, *others]), *form)
    ids = {task: pq.read_table(with_others / f"{task}.parquet")["id"].to_pylist() for task in expected}
    for task, (metric, value) in expected.items():
        assert results[task][f"{metric},none"] == value
        assert [sample["filtered_resps"] for sample in samples[task]] == [
            answers[ids[task][sample["doc_id"]]] for sample in samples[task]
        ]
    assert 0 < expected["tiny_easy_vqa_refer"][1] < 1
    values, scores = by_likelihood
    assert {metric: results["own_own"][f"{metric},none"] for metric in values} == values
    told = [share_of_first(*as_response(sample["filtered_resps"]).choices) for sample in samples["own_own"]]
    assert told == pytest.approx(scores, abs=1e-6)
    assert not set(told) <= {0.0, 1.0}
    assert results["rounds"]["heard,none"] == 2
    if form:
        assert results["yes_or_no"]["acc,none"] > 0.9  # 0 where the likeliest counts as the least likely
