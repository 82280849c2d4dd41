"""What the rest of the project asks of a language model. Nobody else knows the names of its parts.

A language model is a class of transformers' with a head, and one description of it: where its parts are, which matrices
take adapters, where the norms are that stages train, which number formats hold its products, and how published
files name its tensors. Its configuration has transformers' own keys for the sizes (``vocab_size``,
``hidden_size``, ``max_position_embeddings``), its class turns token ids and positions into keys and values by itself.

Names of a block's parts are those inside the block: ``self_attn.dense``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygptv.ground.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

    from tinygptv.config import Model, Text

Rules = tuple[tuple[str, str], ...]
"""Pairs of names, theirs and ours, in which ``{n}`` stands for a number and ``{p}`` for ``weight`` or ``bias``. Where
several of their tensors make one of ours, our name carries a part: ``….qkv.bias#q``."""
Ignorable = tuple[tuple[str, str], ...]
"""Patterns of names that an import leaves out, and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFiles:
    """How the files of others name and order an architecture's tensors."""

    model: str
    """The published model whose constants these are, for messages."""
    layouts: Mapping[str, Rules]
    """Order of the rows of queries, keys and values (``authors/layouts.py``) to the rules of the files that have it;
    of several rules the first that fits names a tensor."""
    ambiguous: Rules
    """Names that say that a matrix is fused, and not in which order."""
    ignored: Ignorable
    plain: Callable[[Iterable[str]], dict[str, str]]
    """Names of older files to those that the rules know; all others to themselves."""
    fused: str | None
    """The matrix of queries, keys and values in a block; None where they are apart, in the layout ``separate``."""
    inner: str
    """A matrix of a block whose rows are the MLP's inner width."""
    constants: Mapping[str, Any]
    """Keys of the configuration that no tensor tells."""
    told: Callable[[Mapping[str, torch.Tensor], int], dict[str, Any]]
    """Keys of the configuration that tensors, by our names, tell beside the sizes; the number is that of the heads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One language model."""

    name: str
    """What `model.text.architecture` of a profile calls it."""
    model: type[PreTrainedModel]
    """With its head; ``get_decoder``, ``get_input_embeddings`` and ``get_output_embeddings`` are transformers'. Its
    forward pass heeds ``boundaries`` (``packed.py``), as stages with `packing` put several samples in a row."""
    config: type[PreTrainedConfig]
    """Its ``model_type`` is the architecture's key in the table and in ``config.json``."""
    sizes: Callable[[Model], dict[str, Any]]
    """The section ``model`` of a profile as keys of the configuration; those of special tokens are not among them."""

    embedding: str
    """The table of tokens."""
    blocks: str
    """The list of blocks."""
    head: str
    """The map to the vocabulary."""
    lora_targets: tuple[str, ...]
    """Matrices of a block that take adapters."""
    mlp_targets: tuple[str, ...]
    """Those of its MLP, which take them where `model.lora.mlp` says so; none where it cannot."""
    input_norm: tuple[str, ...]
    """Norms of a block as published."""
    qk_norm: tuple[str, ...]
    """Norms of a block that TinyGPT-V adds to queries and keys; they start at one and zero."""
    rms_norm: tuple[str, ...]
    """The norm of a block that TinyGPT-V adds to the attention's branch; it starts at one."""
    final_norm: str
    """The norm between the blocks and the head."""

    formats: frozenset[str]
    """Number formats in which its products hold as published."""
    normed_formats: frozenset[str]
    """The same where queries and keys have their norm."""
    normed: Callable[[Any], bool]
    """Whether they have it by a configuration."""

    begin_of_text: str
    """The token that begins texts."""
    end_of_text: str
    """The token that ends texts and pads them; it may be the same."""
    family: str
    """Whose tokenizer that is, for messages."""
    files: PublishedFiles

    cached: Callable[[Text], int]
    """Numbers of a token in one block's cache of keys and values."""

    @property
    def model_type(self) -> str:
        """Name in the table and in ``config.json``."""
        return str(self.config.model_type)

    @property
    def added_norms(self) -> tuple[str, ...]:
        """Norms of a block that no published file has."""
        return (*self.qk_norm, *self.rms_norm)

    def groups(self) -> dict[str, str]:
        """Groups of parameters that stages train to patterns of their names, in the order of a block's work."""
        inside, norms = self._inside, (*self.input_norm, *self.added_norms)
        return {
            "input_norm": rf"{inside(self.input_norm)}\.weight",
            "qk_norm": rf"{inside(self.qk_norm)}\.weight",
            "rms_norm": rf"{inside(self.rms_norm)}\.weight",
            "final_norm": rf"{re.escape(self.final_norm)}\.weight",
            "norm_biases": rf"({inside(norms)}|{re.escape(self.final_norm)})\.bias",
            "lora": rf"{inside((*self.lora_targets, *self.mlp_targets))}\.lora_[AB]\.weight",
        }

    def is_norm(self, name: str) -> bool:
        """Whether a parameter belongs to a norm."""
        groups = self.groups()
        return any(re.fullmatch(groups[group], name) for group in groups if group != "lora")

    def blocks_of(self, language_model: PreTrainedModel) -> nn.ModuleList:
        """The blocks, first to last."""
        return language_model.get_submodule(self.blocks)

    def starts(self, names: Iterable[str]) -> dict[str, float]:
        """Those of the names that belong to norms which TinyGPT-V adds, to the values at which they start."""
        added = rf"{self._inside(self.added_norms)}\.(weight|bias)"
        return {name: 1.0 if name.endswith(".weight") else 0.0 for name in names if re.fullmatch(added, name)}

    def check_format(self, config: PreTrainedConfig, dtype: str) -> None:
        """Refuse a number format in which products of queries and keys overflow.

        Args:
            config: the language model's.
            dtype: of its matrices, as ``runtime.dtype`` names it.

        Raises:
            UserError: names those that hold.
        """
        safe = self.normed_formats if self.normed(config) else self.formats
        if dtype not in safe:
            raise UserError(
                f"runtime.dtype is {dtype}, in which this language model's products overflow"
                f"{'' if self.normed(config) else ' without QK-Norm'}; set it to {' or '.join(sorted(safe))}"
            )

    def _inside(self, names: Iterable[str]) -> str:
        return rf"{re.escape(self.blocks)}\.\d+\.({'|'.join(map(re.escape, names))})"
