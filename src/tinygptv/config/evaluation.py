"""Sections `evaluate`, `quantize`, `register`: what is measured, packed and promoted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tinygptv.config.base import Count, Fraction, Section


class Evaluate(Section):
    """Greedy answers, strictly matched."""

    batch_size: Count = Field(description="Questions of a forward pass.")
    max_new_tokens: Count = Field(description="Longest answer.")
    held_out_questions: Count = Field(description="Questions of each task asked on the held-out slice.")
    grid_images: Count = Field(description="Test images of the picture with answers.")


class Quantize(Section):
    """LLM.int8() of the language model (bitsandbytes)."""

    outlier_threshold: Annotated[float, Field(ge=0.0)] = Field(
        description="Activations above it stay in 16 bits; 0: none do, and batches cannot influence one another."
    )
    batch_size: Count = Field(description="Questions of a forward pass when the reloaded model is tested.")


class Gate(Section):
    """What a challenger must reach to become champion."""

    min_value: dict[str, Fraction] = Field(description="Benchmark → least value of the 8-bit model.")
    max_drop: Fraction = Field(description="Largest loss against the present champion, on any benchmark.")
    min_agreement: Fraction = Field(description="Least share of answers equal to the unquantized model's.")


class Register(Section):
    """MLflow's model registry."""

    model_name: str = Field(description="Name of the registered model.")
    gate: Gate
