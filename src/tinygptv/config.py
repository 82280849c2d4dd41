"""The configuration's schema: every key of ``configs/<profile>.yaml``, typed, described and checked at the door.

No key has a default here: a setting that affects results lives in the configuration file, in one place.
``docs/configuration.md`` is generated from this file.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

STAGES = ("stage1", "stage2", "stage3", "stage4")
STEPS = ("download", "shards", "backbones", "features", *STAGES, "evaluate", "quantize", "register")

Task = Literal["vqa", "caption", "grounding", "refer", "identify", "detection"]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    """A section refuses unknown keys, wrong types and changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Runtime(Section):
    """Where numbers are computed."""

    device: Literal["auto", "cpu", "cuda"] = Field(description="`auto` takes CUDA where there is one.")
    dtype: Literal["float32", "bfloat16"] = Field(description="Frozen weights; trained tensors are always float32.")
    threads: Count = Field(description="CPU threads of torch; part of what decides the bits.")
    deterministic: bool = Field(description="Only kernels that give the same bits each time.")


class Vision(Section):
    """The frozen image tower (EVA-CLIP ViT-g in the paper)."""

    image_size: Count = Field(description="Pixels of a side at which its positions are learned.")
    patch_size: Count = Field(description="Pixels of a patch's side.")
    hidden_size: Count = Field(description="Width.")
    num_hidden_layers: Count = Field(description="Blocks.")
    num_attention_heads: Count = Field(description="Attention heads.")
    intermediate_size: Count = Field(description="Width inside the MLP.")


class QFormer(Section):
    """The frozen BLIP-2 Q-Former, which turns patches into a few visual tokens."""

    num_query_tokens: Count = Field(description="Visual tokens of an image (32 in the paper).")
    hidden_size: Count = Field(description="Width.")
    num_hidden_layers: Count = Field(description="Layers.")
    num_attention_heads: Count = Field(description="Attention heads.")
    intermediate_size: Count = Field(description="Width inside the MLP.")
    cross_attention_frequency: Count = Field(description="Every n-th layer looks at the patches.")


class Text(Section):
    """The Phi language model with QK-Norm and RMSNorm."""

    vocab_size: Count = Field(description="Rows of the embedding; the image slot's id is the next number.")
    hidden_size: Count = Field(description="Width.")
    intermediate_size: Count = Field(description="Width inside the MLP.")
    num_hidden_layers: Count = Field(description="Layers.")
    num_attention_heads: Count = Field(description="Attention heads.")
    partial_rotary_factor: Fraction = Field(description="Share of a head's channels that rotate with the position.")
    max_position_embeddings: Count = Field(description="Longest sequence in tokens, visual tokens included.")
    resid_pdrop: Rate = Field(description="Dropout on the residual branches while training (0.1 in Phi-2).")


class Lora(Section):
    """Low-rank adapters on the attention of the language model (PEFT)."""

    rank: Count = Field(description="Rank (64 in the paper).")
    alpha: Count = Field(description="Scale times rank (16 in the paper).")
    dropout: Rate = Field(description="Dropout on the adapter's input.")


class Model(Section):
    """Sizes of every part; the sizes of the paper are in `configs/paper.yaml`."""

    vision: Vision
    qformer: QFormer
    projection_size: Count = Field(description="Width between the two projections (4096 in the paper).")
    text: Text
    lora: Lora
    initializer_range: Positive = Field(description="Standard deviation of fresh weights.")

    @model_validator(mode="after")
    def _rotary_channels_are_even(self) -> Self:
        head = self.text.hidden_size // self.text.num_attention_heads
        if int(head * self.text.partial_rotary_factor) % 2:
            raise ValueError(
                f"text.partial_rotary_factor: {self.text.partial_rotary_factor} of {head} channels a head is odd; "
                "rotary embeddings turn channels in pairs"
            )
        return self


class Download(Section):
    """Where the data set comes from."""

    source: Literal["easy_vqa"] = Field(description="The data set: `easy_vqa` reads the installed PyPI package.")
    sha256: str = Field(description="Digest of the package's data files; another one stops the step.")


class Shards(Section):
    """WebDataset tars."""

    val_images: Count = Field(description="Training images held out for validation, the last ones in order.")
    images_per_shard: Count = Field(description="Images of one tar.")
    max_rejected: Rate = Field(description="Share of rejected records above which the step stops.")


class Schedule(Section):
    """Learning rate: linear warm-up, then half a cosine (the authors' `linear_warmup_cosine_lr`)."""

    init: Positive = Field(description="Rate at the end of the warm-up.")
    min: Annotated[float, Field(ge=0.0)] = Field(description="Rate at the end of the cosine.")
    warmup: Annotated[float, Field(ge=0.0)] = Field(description="Rate of the first step.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(description="Steps of the warm-up.")


class Prompt(Section):
    """How instruction and answer become one text."""

    template: str = Field(description="`{}` stands for image and instruction; empty: the image alone, no prompt.")
    end_mark: str = Field(description="Text that ends an answer.")
    bos_in_training: bool = Field(description="Sequences begin with the BOS token in training.")
    bos_at_inference: bool = Field(description="Prompts begin with the BOS token when answers are generated.")

    @model_validator(mode="after")
    def _one_place_for_the_instruction(self) -> Self:
        if self.template and self.template.count("{}") != 1:
            raise ValueError(f"template: {self.template!r} needs `{{}}` exactly once, or must be empty")
        if not self.end_mark:
            raise ValueError("end_mark: must not be empty, or answers never end")
        return self


class Pretraining(Section):
    """One stand-in's training in the `backbones` step."""

    steps: Count = Field(description="Optimizer steps.")
    batch_size: Count = Field(description="Images, or sequences, of a step.")
    learning_rate: Schedule
    hold_steps: Annotated[int, Field(ge=0)] = Field(description="Steps at full rate between warm-up and cosine.")
    muon_learning_rate: Positive = Field(description="Muon's rate when AdamW's is at `init`; it follows its course.")
    norm_rate_factor: Positive = Field(description="Norm weights learn this many times as fast; they do not decay.")
    weight_decay: Rate = Field(description="Decay of all other parameters.")


class VisionPretraining(Pretraining):
    """Image-text contrast of image tower and Q-Former."""

    edge_weight: Positive = Field(description="Weight of the box's edges beside the caption.")
    edge_blur: Positive = Field(description="Standard deviation of an edge's target, in hundredths of the image.")
    edge_smoothing: Positive = Field(description="Likeness of neighbouring marks at the start, in hundredths.")
    caption_scale: Positive = Field(description="Inverse temperature of captions at the start; it is learned.")
    edge_scale: Positive = Field(description="Inverse temperature of edges at the start; it is learned.")
    position_scale: Positive = Field(description="Size of the position embeddings at the start.")
    patch_std: Positive = Field(description="Standard deviation of the patch embedding at the start.")


class TextPretraining(Pretraining):
    """Next-token prediction on texts made from training records."""

    reading_steps: Annotated[int, Field(ge=0)] = Field(description="First steps, on short texts without boxes.")
    reading_mixture: dict[Task | Literal["plain", "check"], Positive] = Field(
        description="Task → weight of its documents in those; `check`: is a word in the description."
    )
    mixture: dict[Task | Literal["plain", "check"], Positive] = Field(
        description="Task → weight of its documents after that; `plain`: a description and its caption."
    )
    checks: Count = Field(description="Words that a `check` document asks for.")
    prompt: Prompt
    caption_end_mark: str = Field(description="Ends a `plain` document, as the end mark of stage 1 ends a caption.")
    given_weight: Fraction = Field(description="Weight of the loss on the given text; answers have 1.")


class Backbones(Section):
    """Where the frozen parts come from."""

    source: Literal["pretrain"] = Field(description="`pretrain` trains small stand-ins on the shards.")
    vision: VisionPretraining
    text: TextPretraining


class Features(Section):
    """Q-Former outputs, computed once per image and resolution."""

    image_sizes: tuple[Count, ...] = Field(description="Resolutions in pixels; every stage names one of them.")
    batch_size: Count = Field(description="Images of a forward pass; part of what decides the bits.")


class Stage(Section):
    """One of the four training stages."""

    image_size: Count = Field(description="Resolution of the cached features, one of `features.image_sizes`.")
    prompt: Prompt
    trainable: tuple[Literal["projection", "norms", "lora"], ...] = Field(description="Parts that train.")
    mixture: dict[Task | Literal["align"], Positive] = Field(
        description="Task → weight of its share; `align` is a caption asked for by one of the four alignment prompts."
    )
    steps_per_epoch: Count = Field(description="Optimizer steps of an epoch.")
    epochs: Count = Field(description="Epochs.")
    batch_size: Count = Field(description="Samples of an optimizer step.")
    micro_batch_size: Count = Field(description="Samples of a forward pass; a divisor of `batch_size`.")
    learning_rate: Schedule
    weight_decay: Rate = Field(description="AdamW's decay of matrices.")
    betas: tuple[Rate, Rate] = Field(description="AdamW's averaging of gradient and square.")
    max_grad_norm: Positive = Field(description="Gradients above this norm are scaled down to it.")
    max_answer_tokens: Count = Field(description="Longer answers are cut; the end mark is kept.")
    checkpoint_every: Count = Field(description="Steps between resume points in `.state`.")
    log_every: Count = Field(description="Steps between points of the loss curve.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(f"micro_batch_size: {self.micro_batch_size} does not divide batch_size {self.batch_size}")
        if not self.mixture:
            raise ValueError("mixture: names no task")
        if not self.trainable:
            raise ValueError("trainable: names no part")
        return self

    @property
    def steps(self) -> int:
        """Optimizer steps of the stage."""
        return self.steps_per_epoch * self.epochs


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


class Config(Section):
    """A profile: `configs/<profile>.yaml`."""

    runtime: Runtime
    model: Model
    download: Download
    shards: Shards
    backbones: Backbones
    features: Features
    stage1: Stage
    stage2: Stage
    stage3: Stage
    stage4: Stage
    evaluate: Evaluate
    quantize: Quantize
    register_: Register = Field(alias="register")

    @model_validator(mode="after")
    def _stages_fit_the_features(self) -> Self:
        for name in STAGES:
            size = self.stage(name).image_size
            if size not in self.features.image_sizes:
                raise ValueError(
                    f"{name}.image_size: {size} is not among features.image_sizes {self.features.image_sizes}"
                )
        return self

    def stage(self, name: str) -> Stage:
        """The section of a training stage."""
        section = getattr(self, name)
        assert isinstance(section, Stage)
        return section
