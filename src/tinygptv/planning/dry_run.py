"""What a training stage's largest micro-batch holds on its device, found by running it.

The model that will train, its forward and backward pass are run with the very code of training, on tensors that have
shapes and formats and neither numbers nor memory (``FakeTensorMode``). All blocks of a language model are alike: a
model with two of them and one with three tell what each further one takes.

What remains approximate: the kernels that a compiler makes of compiled blocks (``planning/fused.py``), which attention
CUDA takes and what its autocast does (``planning/cuda_rules.py``), outliers of LLM.int8(), whose number is that of the
data, and the gaps of the allocator.
"""

from __future__ import annotations

from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.planning.cuda_rules import as_on_cuda
from tinygptv.planning.live import LiveBytes

if TYPE_CHECKING:
    from tinygptv.config import Config, Stage
    from tinygptv.training.loss import PlacedBatch

Varied = TypeVar("Varied")
Device = Literal["cpu", "cuda"]
FEW = (2, 3)
"""Blocks of the models that are run; further ones are like the last one."""
_found: dict[tuple[str, ...], Activations] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """Bytes of a forward and a backward pass, beside weights and gradients."""

    kept: int
    """When the loss is there: what the backward pass needs, and the batch."""
    peak: int
    """At the worst moment, usually at the beginning of the backward pass."""

    def further(self, other: Activations, blocks: int) -> Activations:
        """With so many blocks more, where ``other`` has one more."""
        return Activations(
            kept=self.kept + blocks * (other.kept - self.kept), peak=self.peak + blocks * (other.peak - self.peak)
        )


def activations(config: Config, name: str, device: Device, *, adapted: bool) -> Activations:
    """What the largest micro-batch of a stage holds.

    Args:
        config: the profile.
        name: the stage.
        device: ``cuda`` or ``cpu``; neither need be there.
        adapted: whether the model has adapters, trained or not.
    """
    key = (repr(config.model), repr(config.stage(name)), config.runtime.dtype, device, name, str(adapted))
    if key not in _found:
        blocks, dry = config.model.text.num_hidden_layers, _DryRun(config, name, device, adapted)
        few = [dry.run(number) for number in FEW if number <= blocks] or [dry.run(blocks)]
        _found[key] = few[0].further(few[-1], blocks - FEW[0]) if len(few) > 1 else few[0]
        torch._dynamo.reset()  # code for tensors without numbers is of no further use
    return _found[key]


def largest(config: Config, stage: Stage) -> PlacedBatch:
    """The largest micro-batch that a stage's settings allow, with a mask where one may be needed; on the CPU."""
    from tinygptv.training import compiled, loss

    batches = compiled.largest_batches(config, stage)
    batch = max(batches, key=lambda batch: (len(batch.record_ids), batch.needs_mask))
    return loss.placed(batch, config.model.text.vocab_size, torch.device("cpu"), packing=stage.packing)


class _DryRun:
    """Passes of a stage's model; what is compiled for one serves all."""

    def __init__(self, config: Config, name: str, device: Device, adapted: bool) -> None:
        from tinygptv.planning.fused import backend

        self.config, self.name, self.device, self.adapted = config, name, device, adapted
        self.stage = config.stage(name)
        self.live, self.owned = LiveBytes(device), set[int]()
        self.backend = backend(self.live, self.owned)
        placed = largest(config, self.stage)
        if placed.boundaries is not None:
            placed = replace(placed, boundaries=replace(placed.boundaries, flash=device == "cuda"))
        self.placed = placed
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)

    def run(self, blocks: int) -> Activations:
        """Forward and backward pass of the largest micro-batch with so many blocks."""
        from tinygptv.training import compiled

        model, live = _without_memory(_with_blocks(self.config, blocks), self.name, adapted=self.adapted), self.live
        with self.mode, as_on_cuda() if self.device == "cuda" else nullcontext():
            _make_fake(model)
            here = _fake(self.placed, self.mode)
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            for parameter in trained:
                parameter.grad = torch.empty_like(parameter)
            own = [*model.parameters(), *model.buffers(), *(parameter.grad for parameter in trained)]
            if self.stage.compile:
                self.owned.update(tensor.untyped_storage()._cdata for tensor in own)
                compiled.set_compiled(model, self.stage, dynamic=False, backend=self.backend)
                self._loss(model, here).backward()
            with live:
                live.count(own)
                before = live.now
                live.count(batch_tensors(here))
                live.peak = live.now
                total = self._loss(model, here)
                kept = live.now - before
                total.backward()
            self.owned.clear()
            return Activations(kept=kept, peak=live.peak - before)

    def _loss(self, model: TinyGPTVForConditionalGeneration, here: PlacedBatch) -> torch.Tensor:
        from tinygptv.training.loss import placed_loss

        return placed_loss(model, here, label_only=self.stage.label_only_logits)


def _with_blocks(config: Config, blocks: int) -> Config:
    text = _varied(config.model.text, num_hidden_layers=blocks)
    return _varied(config, model=_varied(config.model, text=text))


def _varied(section: Varied, **changes: Any) -> Varied:
    """A section with other values; it need not be pydantic's, which benchmarks do without."""
    other = copy(section)
    vars(other).update(changes)
    return other


def _without_memory(config: Config, name: str, *, adapted: bool) -> TinyGPTVForConditionalGeneration:
    """The model of a stage, without the image encoder, on the meta device."""
    from tinygptv.model import adapters
    from tinygptv.model.backbones import formats_of
    from tinygptv.model.profile import from_profile
    from tinygptv.training.preparation import prepare

    vision = _varied(config.model.vision, num_hidden_layers=1)
    sizes = from_profile(_varied(config.model, vision=vision), end_of_text_id=0)
    exact = _varied(config, quantize=_varied(config.quantize, outlier_threshold=0.0))
    with torch.device("meta"):
        model = TinyGPTVForConditionalGeneration(sizes)
        del model.image_encoder
        formats = formats_of(model.language_model, getattr(torch, config.runtime.dtype))
        for own, parameter in model.language_model.named_parameters():
            parameter.data = parameter.data.to(formats[own])
        if adapted:
            adapters.add_lora(model, config.model.lora)
        prepare(model, exact, name)
    return model.train()


def _make_fake(model: nn.Module) -> None:
    """Give all tensors of a model a device, and no memory."""
    for part in model.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                made = torch.empty(parameter.shape, dtype=parameter.dtype)
                part._parameters[name] = nn.Parameter(made, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def batch_tensors(batch: PlacedBatch) -> list[torch.Tensor]:
    """What of a micro-batch lies on the device."""
    values = [getattr(batch, name) for name in batch.__dataclass_fields__]
    if batch.boundaries is not None:
        values += [batch.boundaries.starts, batch.boundaries.places]
    return [value for value in values if isinstance(value, torch.Tensor)]


def _fake(batch: PlacedBatch, mode: FakeTensorMode) -> PlacedBatch:
    """A micro-batch of the same shapes."""
    fields = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    tensors = {name: mode.from_tensor(value) for name, value in fields.items() if isinstance(value, torch.Tensor)}
    boundaries = None if batch.boundaries is None else batch.boundaries.sent(mode.from_tensor)
    return replace(batch, **tensors, boundaries=boundaries)
