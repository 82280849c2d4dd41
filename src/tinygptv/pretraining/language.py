"""Pretraining of the stand-in language model on text.

Shapes: B documents, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812 (torch's usual name)

from tinygptv.config import TextPretraining
from tinygptv.data.prompts import encode_text
from tinygptv.model.language import architecture_of
from tinygptv.pretraining.optimizers import MuonAdamW

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tinygptv.pretraining.documents import Document, Documents


def pretrain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Documents,
    settings: TextPretraining,
    on_step: Callable[[int, float], None],
) -> None:
    """Train the language model in place.

    Args:
        model: fresh.
        tokenizer: of the same vocabulary.
        documents: where the texts come from.
        settings: `backbones.text` of the configuration.
        on_step: called with the count of steps done and the loss.
    """
    model.train()
    architecture = architecture_of(model.config)
    ends = (architecture.embedding, architecture.head)
    optimizer = MuonAdamW(model.named_parameters(), settings, ends=ends)
    for step in range(settings.steps):
        input_BT, weight_BT = encode(tokenizer, documents.batch(step), settings.given_weight)
        logits_BTV = model(input_ids=input_BT[:, :-1], use_cache=False).logits
        loss_BT = F.cross_entropy(logits_BTV.flatten(0, 1), input_BT[:, 1:].flatten(), reduction="none")
        loss = (loss_BT * weight_BT[:, 1:].flatten()).sum() / weight_BT[:, 1:].sum()
        optimizer.step(step, loss)
        on_step(step + 1, loss.item())


def encode(
    tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], given_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids after BOS [B, T] and the weight of each token's loss [B, T]; padding is on the right, of weight 0."""
    rows = []
    for document in documents:
        ids, weights = [tokenizer.bos_token_id], [0.0]
        for text, learned in document:
            tokens = encode_text(tokenizer, text)
            ids += tokens
            weights += [1.0 if learned else given_weight] * len(tokens)
        rows.append((ids, weights))
    longest = max(len(ids) for ids, _ in rows)
    padding = tokenizer.pad_token_id
    input_BT = torch.tensor([ids + [padding] * (longest - len(ids)) for ids, _ in rows])
    weight_BT = torch.tensor([weights + [0.0] * (longest - len(weights)) for _, weights in rows])
    return input_BT, weight_BT
