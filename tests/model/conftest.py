"""Tests of the model run on one thread. The golden files, as the authors' loader would find them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parents[1] / "golden"
PREFIXES = {"phi": "phi.", "vision": "vision.", "qformer": "qformer.", "checkpoint": "ckpt."}

Parts = dict[str, dict[str, torch.Tensor]]
"""Tensors of the four files by the names of ``import_authors``' arguments."""


@pytest.fixture(scope="session")
def golden_parts() -> Callable[[str], Parts]:
    """``golden_parts(case)``: the tensors of the authors' four files."""

    def read(case: str) -> Parts:
        weights = load_file(GOLDEN / case / "weights.safetensors")
        return {
            part: {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}
            for part, prefix in PREFIXES.items()
        }

    return read


@pytest.fixture(scope="session")
def golden_facts() -> Callable[[str], dict[str, Any]]:
    """``golden_facts(case)``: what ``case.json`` says."""
    return lambda case: json.loads((GOLDEN / case / "case.json").read_text())


@pytest.fixture(scope="session")
def import_settings(golden_facts: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """``import_settings(case)``: the arguments of ``import_authors`` that are no files of weights."""

    def settings(case: str) -> dict[str, Any]:
        facts = golden_facts(case)
        sizes = facts["dims"]
        heads = {
            "text": sizes["phi"]["num_attention_heads"],
            "vision": sizes["vit"]["num_heads"],
            "qformer": sizes["qformer"]["num_attention_heads"],
        }
        return {
            "tokenizer": GOLDEN / "tokenizer",
            "image_size": facts["image_size"],
            "heads": heads,
            "lora_alpha": facts["lora_alpha"],
        }

    return settings


@pytest.fixture(scope="session")
def write_parts() -> Callable[..., dict[str, Path]]:
    """``write_parts(folder, parts, pickled={...})``: one file for each part, and their paths.

    A pickled part looks as the authors' file of that kind does; the others are safetensors.
    """

    def write(folder: Path, parts: Mapping[str, Any], pickled: frozenset[str] = frozenset()) -> dict[str, Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = {}
        for part, tensors in parts.items():
            paths[part] = folder / f"{part}.{'pth' if part in pickled else 'safetensors'}"
            if part not in pickled:
                save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, paths[part])
                continue
            saved: Any = OrderedDict(tensors)
            if part == "qformer":
                saved = {"model": saved}
            if part == "checkpoint":
                config = {"model": {"arch": "minigpt_v2", "image_size": 448}, "run": {"amp": True}}
                saved = {"model": saved, "optimizer": {"state": {}}, "config": config, "scaler": None, "epoch": 0}
            torch.save(saved, paths[part])
        return paths

    return write
