"""What is said of a stage's speed, beside counts by hand."""

from __future__ import annotations

import pytest
import torch

from tinygptv.ground.workers import ALONE
from tinygptv.planning import throughput
from tinygptv.planning.sizes import measure
from tinygptv.planning.throughput import Throughput, block_matrices

STAGE = "stage3"


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [0.0]
    monkeypatch.setattr(throughput.time, "monotonic", lambda: now[0])
    return now


def test_samples_tokens_and_waiting_are_those_of_the_batches(training, clock):
    made = training()
    speed = Throughput(made.config, STAGE, made.model, torch.device("cpu"), ALONE)

    def slow():
        for _ in range(2):
            clock[0] += 1.0
            yield [made.batch, made.batch]

    for number, batches in enumerate(speed.watched(slow())):
        clock[0] += 3.0
        assert len(batches) == 2
        if number == 0:
            speed.restart()
    tokens = int(made.batch.attention_mask.sum())
    assert speed.values() == {
        "samples_per_second": 2 * 3 / 4.0,
        "tokens_per_second": 2 * tokens / 4.0,
        "data_wait": 0.25,
    }
    assert speed.values(whole=True)["samples_per_second"] == 4 * 3 / 8.0
    assert list(speed.shown()) == ["samples/s", "tokens/s", "wait %"]  # a CPU has no peak, and no share of one


def test_the_share_of_a_known_peak_counts_operations_at_real_lengths(training, clock, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(Throughput, "_of_gpu", lambda self: {})
    made = training(max_sequence_tokens=48, label_only_logits=True)
    speed = Throughput(made.config, STAGE, made.model, torch.device("cuda"), ALONE)
    for _ in speed.watched([[made.batch]]):
        clock[0] += 2.0
    sizes, trained = measure(made.config, STAGE), made.model
    parameters = sizes.language_model.blocks + sizes.stages[STAGE].adapters
    assert block_matrices(trained) == sizes.language_model.blocks
    four = 4 * parameters * int(made.batch.attention_mask.sum())
    share = four / 2.0 / 989.4e12
    assert share < speed.values()["mfu"] < 2 * share  # the head, attention and the adapters' own gradients are more


def test_matrices_in_8_bits_count(training):
    assert block_matrices(training(base_8bit=True).model) == block_matrices(training().model)
