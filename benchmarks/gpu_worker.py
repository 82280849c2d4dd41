"""One measurement of benchmarks/gpu_memory.py and gpu_step.py, in a process of its own.

    python benchmarks/gpu_worker.py '{"profile": "paper", "stage": "stage3", "device": "cuda", "gpu": 24, ...}'

Random weights of the profile's sizes are made on the device, put into the formats of training, adapted, frozen,
quantized and checkpointed as ``steps/train.py`` does it, and trained by ``training/loop.py`` on the batches of
``gpu_batches.py``, under a hard limit on the device's memory. The last line of the output is one JSON object.

Needs torch, transformers and peft, for 8-bit weights bitsandbytes too; the project need not be installed.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from gpu_batches import longest_step, real_lengths, real_step
from gpu_common import GB, ROOT, read_profile  # puts the project on the path

from tinygptv.ground import runtime
from tinygptv.model import adapters
from tinygptv.model.backbones import formats_of
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration, TinyGPTVProjector
from tinygptv.model.profile import from_profile
from tinygptv.planning import compute, memory, sizes
from tinygptv.training import compiled, loop
from tinygptv.training.optimizer import set_learning_rate
from tinygptv.training.preparation import prepare

if TYPE_CHECKING:
    from torch import nn

    from tinygptv.data.batches import Batch

SEED = 1


@dataclass(frozen=True, kw_only=True)
class Case:
    """What to measure."""

    profile: str
    stage: str
    device: str
    settings: dict[str, Any]
    """Other values of the profile's keys."""
    tower: bool
    """Whether the image encoder runs in every step, instead of features being there already."""
    row: int | None = None
    """Tokens of the one micro-batch, of samples of real lengths; None: the stage's largest step."""
    gpu: float
    """10^9 bytes of the device that may be used."""
    steps: int
    warmup: int
    seconds: float
    """After so many, and at least three steps, no further step begins."""
    plan_only: bool
    cache: str
    """Folder for what is compiled."""


def plan(config: Any, case: Case) -> dict[str, Any]:
    """What ``tinygptv plan`` says of the stage, in bytes and in operations a sample.

    Those a token are of the frozen matrices alone, forward pass and gradients of their inputs: four a number.
    """
    stage, measured = config.stage(case.stage), sizes.measure(config)
    tower = measured.image_encoder.size(config.runtime.dtype, base_8bit=False) if case.tower else 0
    matrices, lora = measured.language_model.blocks, measured.stages[case.stage].adapters
    lengths = real_lengths(config, case.row) if case.row else [stage.max_sequence_tokens]
    sized = [stage.model_copy(update={"max_sequence_tokens": length}) for length in lengths]
    work = [compute.stage_compute(config, one, matrices=matrices, lora=lora) for one in sized]
    encoder = compute.encoder_forward(config, stage.image_size) if case.tower else 0.0
    try:
        needed = memory.stage_memory(config, case.stage, measured, "cuda" if case.device == "cuda" else "cpu")
        room = asdict(needed) | {"image_encoder": tower, "peak": needed.peak + tower}
    except Exception as error:  # it asks the compiler of whatever torch is there; what is measured needs none of it
        room, problem = None, f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"no plan of {case.stage}: {problem}", file=sys.stderr)
    return {
        "memory": room,
        "operations": {
            "useful": statistics.fmean(one.forward + one.backward for one in work) + encoder,
            "executed": statistics.fmean(one.per_sample for one in work) + encoder,
        },
        "operations_a_token": 4 * matrices,
    }


def limit(gpu: float) -> dict[str, int]:
    """Let this process have no more of the device than a card of ``gpu`` GB would leave it.

    Everything else that takes the device's memory, the CUDA context first, comes out of the same GB.
    """
    matrix = torch.ones(256, 256, device="cuda", dtype=torch.bfloat16)
    _ = matrix @ matrix  # cuBLAS and its workspace are there now
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    outside = total - free - torch.cuda.memory_reserved()
    allowed = min(int(gpu * GB), total) - outside
    if allowed <= 0:
        raise SystemExit(f"others hold {outside / GB:.1f} GB of the device already")
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    return {"device": total, "limit": min(int(gpu * GB), total), "allocator_limit": allowed}


def fill(module: nn.Module, dtype: torch.dtype, home: torch.device, device: torch.device, std: float) -> None:
    """Give a module without memory random weights in the formats of ``backbones.fill``, made on ``device``."""
    formats, tensors = formats_of(module, dtype), {}
    for name, empty in module.state_dict().items():
        value = torch.empty(empty.shape, dtype=formats[name], device=device)
        if "norm" in name.lower():
            value.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            value.normal_(std=std)
        tensors[name] = value.to(home)
    module.load_state_dict(tensors, strict=True, assign=True)


def build(config: Any, case: Case, device: torch.device) -> TinyGPTVForConditionalGeneration:
    """The model of a stage as ``assembly.assemble`` and ``steps/train.py`` leave it, but for what its numbers are."""
    from accelerate import init_empty_weights

    model_sizes, dtype = from_profile(config.model, end_of_text_id=0), getattr(torch, config.runtime.dtype)
    stage, std = config.stage(case.stage), config.model.initializer_range
    with init_empty_weights(include_buffers=False):
        model = TinyGPTVForConditionalGeneration(model_sizes)
    with device:
        model.projector = TinyGPTVProjector(model_sizes)
    home = torch.device("cpu") if stage.base_8bit else device  # which need not hold the matrices in 16 bits, too
    fill(model.language_model, dtype, home, device, std)
    if case.tower:
        fill(model.image_encoder, dtype, device, device, std)
        model.image_encoder.to(device)  # its buffers
    prepare(model, config, case.stage, device)
    model.language_model.to(device)
    return model.train()


def train(config: Any, case: Case, model: TinyGPTVForConditionalGeneration, device: torch.device) -> dict[str, Any]:
    """Make the loop's own optimizer steps; seconds of each but the first ones, all losses and norms.

    ``start_s`` are the seconds to the end of the first step of a model that is on the device, compiling among them.
    """
    stage, preparing = config.stage(case.stage), time.perf_counter()
    if stage.compile:
        compiled.compile_blocks(model, config, case.stage, Path(case.cache))
    state = loop.new_state(model, adapters.trainable_parameters(model), stage, (7, case.stage))
    set_learning_rate(state.optimizer, stage.learning_rate.init)
    batches = real_step(config, case.row) if case.row else longest_step(config, stage)
    side = stage.image_size
    pixels = [torch.randn(len(batch.record_ids), 3, side, side) for batch in batches] if case.tower else []

    seconds: list[float] = []
    losses: list[float] = []
    norms: list[float] = []
    start = 0.0
    began = time.perf_counter()
    for number in range(case.warmup + case.steps):
        started = time.perf_counter()
        if number == case.warmup:
            began = started
        elif number >= case.warmup + 3 and started - began > case.seconds:
            break
        loss, norm, _ = loop.optimizer_step(state, with_features(model, batches, pixels, device), stage)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        start = start or time.perf_counter() - preparing
        losses.append(loss)
        norms.append(norm)
    del seconds[: case.warmup]
    samples = sum(len(batch.record_ids) for batch in batches)
    return {
        "samples": samples,
        "micro_batches": len(batches),
        "tokens": stage.max_sequence_tokens,
        "tokens_of_a_step": sum(int(batch.attention_mask.sum()) for batch in batches),
        "step_s": seconds,
        "samples_per_s": samples / statistics.median(seconds),
        "losses": losses,
        "norms": norms,
        "start_s": start,
    }


def with_features(
    model: TinyGPTVForConditionalGeneration,
    batches: Sequence[Batch],
    pixels: Sequence[torch.Tensor],
    device: torch.device,
) -> list[Batch]:
    """The batches, with features from these images where there are any."""
    if not pixels:
        return list(batches)
    model.image_encoder.eval()
    with torch.no_grad():
        features = [model.image_encoder(images.to(device)) for images in pixels]
    return [replace(batch, image_features=found) for batch, found in zip(batches, features, strict=True)]


def measure(case: Case) -> dict[str, Any]:
    """The plan of a case and what was measured, or that there was not enough memory."""
    config = read_profile(ROOT / "configs" / f"{case.profile}.yaml", case.settings)
    found: dict[str, Any] = {"plan": plan(config, case)}
    if case.plan_only:
        return found | {"status": "not measured"}
    config.runtime.device = case.device
    device = runtime.prepare(config.runtime, SEED)
    on_gpu = device.type == "cuda"
    found["memory"] = limit(case.gpu) if on_gpu else dict.fromkeys(("allocated", "held", "outside", "peak"))
    try:
        model = build(config, case, device)
        found["memory"]["weights"] = torch.cuda.memory_allocated() if on_gpu else size_of(model)
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        found |= train(config, case, model, device) | {"status": "measured"}
    except torch.cuda.OutOfMemoryError as error:
        found |= {"status": "out of memory", "what": str(error).partition(". ")[0]}
    if on_gpu:
        found["memory"] |= peaks()
    return found


def size_of(model: nn.Module) -> int:
    """Bytes of the tensors that have memory."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()) if not tensor.is_meta)


def peaks() -> dict[str, int]:
    """The most that the allocator gave out and held, and the device's memory that it did not hold."""
    free, total = torch.cuda.mem_get_info()
    held = torch.cuda.max_memory_reserved()
    outside = total - free - torch.cuda.memory_reserved()
    return {"allocated": torch.cuda.max_memory_allocated(), "held": held, "outside": outside, "peak": held + outside}


def environment(device: str) -> dict[str, Any]:
    """The device's name and what computed on it; no host name."""
    from importlib import metadata

    packages = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")
    facts: dict[str, Any] = {name: metadata.version(name) for name in packages if find_spec(name)}
    facts |= {"python": sys.version.split()[0], "torch": torch.__version__}
    if device != "cuda":
        return facts | {"name": runtime.processor_name()}
    facts |= {"name": torch.cuda.get_device_name(), "driver": runtime.gpu_driver(), "cuda": torch.version.cuda}
    return facts | {"memory": torch.cuda.get_device_properties(0).total_memory}


def main() -> None:
    """Measure the case of the command line."""
    runtime.quiet_libraries()
    case = Case(**json.loads(sys.argv[1]))
    found = measure(case)
    environment_of = {} if case.plan_only else {"environment": environment(case.device)}
    print(json.dumps(found | environment_of))


if __name__ == "__main__":
    main()
