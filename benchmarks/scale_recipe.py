"""What the profile of the paper asks of a GPU: operations of a sample, seconds of a leaf, bytes of a row."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from scale_facts import Measured

from tinygptv.config import Config
from tinygptv.config.profiles import read_config
from tinygptv.planning.compute import PEAK_TFLOPS, mean_batch, stage_compute
from tinygptv.planning.data import ROW_OVERHEAD
from tinygptv.planning.sizes import number_size

ROOT = Path(__file__).resolve().parents[1]
CARD = "H100 SXM"


@cache
def paper() -> Config:
    """The profile of the paper."""
    return read_config(ROOT / "configs" / "paper.yaml")


def leaf_seconds(name: str, facts: Measured) -> float:
    """Of a leaf of 64 samples on an H100: measured in stage 1, and in stage 2 by its share of more operations."""
    measured_seconds = sum(facts.step_seconds) / len(facts.step_seconds)
    return measured_seconds * operations(name) / operations("stage1")


def longest_seconds(name: str) -> float:
    """Of a whole stage at the longest sequences, by the plan's share of the card's peak."""
    compute = stage_compute(paper(), paper().stage(name), matrices=matrices(), lora=lora(name))
    return compute.hours(PEAK_TFLOPS[CARD]) * 3600


@cache
def operations(name: str) -> float:
    """Of a sample of a stage in training."""
    return stage_compute(paper(), paper().stage(name), matrices=matrices(), lora=lora(name)).per_sample


def matrices() -> int:
    """Numbers in the matrices of Phi-2's blocks: four of attention, two of the MLP."""
    text = paper().model.text
    return text.num_hidden_layers * (4 * text.hidden_size**2 + 2 * text.hidden_size * text.intermediate_size)


def lora(name: str) -> int:
    """Numbers in the adapters that a stage computes: of queries, keys and values, one matrix, and of the output."""
    text, rank = paper().model.text, paper().model.lora.rank
    each = (1 + 3) * text.hidden_size + (1 + 1) * text.hidden_size
    return 0 if name == "stage1" else text.num_hidden_layers * rank * each


def row_bytes(config: Config) -> int:
    """Of the features of a picture."""
    qformer = config.model.qformer
    return qformer.num_query_tokens * qformer.hidden_size * number_size(config.runtime.dtype) + ROW_OVERHEAD


def stage2_share(config: Config) -> float:
    """Samples of stage 2 for each of stage 1, in the released recipe."""
    first, second = config.stage1, config.stage2
    return second.steps * mean_batch(second) / (first.steps * mean_batch(first))
