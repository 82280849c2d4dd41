"""Sections `evaluate`, `quantize`, `register`: what is measured, packed and promoted."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tinygptv.config.base import Count, Fraction, Positive, Preset, Section


class Evaluate(Section):
    """Greedy answers, each benchmark's official metric."""

    benchmarks: tuple[str, ...] = Field(description="Data sets whose held-out and test records are asked.")
    presets: tuple[Preset, ...] = Field(
        min_length=1,
        description="How questions are put (docs/evaluation.md); the first one decides, the others stand beside it.",
    )
    batch_size: Count = Field(description="Questions of a forward pass.")
    max_new_tokens: Count = Field(description="Longest answer in tokens; those that reach it are counted (`cut`).")
    held_out_questions: Count = Field(
        description="Questions of each benchmark asked of every stage: of the held-out slice, or of a set that is only "
        "asked."
    )
    grid_images: Count = Field(description="Test images of the picture with answers.")


class Quantize(Section):
    """LLM.int8() of the language model (bitsandbytes)."""

    outlier_threshold: Annotated[float, Field(ge=0.0)] = Field(
        description="Activations above it stay in 16 bits; 0: none do, and batches cannot influence one another."
    )
    batch_size: Count = Field(description="Questions of a forward pass when the reloaded model is tested.")


class Gate(Section):
    """What a challenger must reach to become champion; `docs/promotion.md` explains each check."""

    min_value: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        description="Benchmark → least value of the 8-bit model, by its first official metric; `evaluate.benchmarks` "
        "asks it."
    )
    margin: dict[str, Fraction] = Field(
        description="Benchmark → non-inferiority margin: the lower end of the 95 % interval of challenger minus "
        "champion is at least minus this."
    )
    resamples: Annotated[int, Field(ge=1000)] = Field(description="Resamples of the paired bootstrap, by image.")
    seed: Annotated[int, Field(ge=0)] = Field(description="Seed of its draws.")
    min_agreement: Fraction = Field(description="Least share of answers equal to the unquantized model's.")
    max_bytes: Count = Field(description="Largest package: all its files together.")
    max_latency_seconds: Positive | None = Field(
        description="Longest median time of a question asked alone; null: shown, not judged, where machines vary."
    )

    @model_validator(mode="after")
    def _one_margin_a_benchmark(self) -> Self:
        if not self.min_value or set(self.min_value) != set(self.margin):
            raise ValueError("min_value and margin must name the same benchmarks, at least one")
        return self


class Register(Section):
    """MLflow's model registry."""

    model_name: str = Field(description="Name of the registered model.")
    gate: Gate
