"""What gpu_worker.py trains on: random tokens, in sequences as long as a stage allows or as long as real ones are."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

import torch
from gpu_common import ROOT  # puts the project on the path

from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX

LENGTHS = ROOT / "benchmarks" / "results" / "packing.json"
"""Its ``lengths``: of the samples of stage 4 of `tiny` (easy-VQA, six tasks), as benchmarks/packing.py counted them."""


def longest_step(config: Any, stage: Any) -> list[Batch]:
    """The micro-batches of the largest step, all sequences as long as they may be, every text token with loss.

    The last token of one sequence is padding, as it is where lengths differ.
    """
    text, queries, tokens = config.model.text, config.model.qformer.num_query_tokens, stage.max_sequence_tokens
    whole = stage.batch_size if isinstance(stage.batch_size, int) else max(stage.batch_size.values())
    batches = []
    for start in range(0, whole, stage.micro_batch_size):
        samples = min(stage.micro_batch_size, whole - start)
        input_ids = torch.randint(text.vocab_size, (samples, tokens))
        labels, mask = input_ids.clone(), torch.ones_like(input_ids)
        input_ids[:, :queries] = text.vocab_size
        labels[:, :queries] = IGNORE_INDEX
        if samples > 1:
            mask[0, -1], labels[0, -1] = 0, IGNORE_INDEX
        features = torch.randn(samples, queries, config.model.qformer.hidden_size)
        batches.append(Batch(("random",) * samples, input_ids, mask, labels, features))
    return batches


def real_lengths(config: Any, tokens: int) -> list[int]:
    """Lengths of samples that fill a row of so many tokens, drawn from real ones as often as they are there.

    The text of a sample is as long as it was counted, and its image has the visual tokens of the profile at hand. The
    last sample is cut to what is left, if that is an image and three tokens of text or more; else it is left out.
    """
    counted, queries = json.loads(LENGTHS.read_text())["lengths"], config.model.qformer.num_query_tokens
    texts = torch.tensor([int(length) - counted["visual_tokens"] for length in counted["samples"]])
    shares = torch.tensor(list(counted["samples"].values()), dtype=torch.float64)
    drawn = torch.multinomial(shares, tokens, replacement=True, generator=torch.Generator().manual_seed(1))
    lengths = [int(text) + queries for text in texts[drawn]]
    whole = [length for length, end in zip(lengths, accumulate(lengths), strict=True) if end <= tokens]
    left = tokens - sum(whole)
    return [*whole, left] if left >= queries + 3 else whole


def real_step(config: Any, tokens: int) -> list[Batch]:
    """One micro-batch of samples of real lengths, so many tokens together, every text token with loss."""
    text, queries, lengths = config.model.text, config.model.qformer.num_query_tokens, real_lengths(config, tokens)
    lengths_B = torch.tensor(lengths)
    there_BT = torch.arange(max(lengths)) < lengths_B[:, None]
    input_ids = torch.where(there_BT, torch.randint(text.vocab_size, there_BT.shape), 0)
    labels = torch.where(there_BT, input_ids, IGNORE_INDEX)
    input_ids[:, :queries] = text.vocab_size
    labels[:, :queries] = IGNORE_INDEX
    features = torch.randn(len(lengths), queries, config.model.qformer.hidden_size)
    return [Batch(("random",) * len(lengths), input_ids, there_BT.long(), labels, features)]
