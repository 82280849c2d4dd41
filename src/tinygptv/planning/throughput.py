"""How fast a stage trains, while it does: samples and tokens a second, waiting for data, share of a GPU's peak.

Tokens are those of the samples; padding is none. Operations are counted as the plan counts them, at the lengths that
the samples have: forward pass, and the gradients of inputs and of what trains; where a frozen base takes nearly all of
them that is 4 N a token. What checkpointing computes again is not counted. On a CPU, and on a GPU whose peak is not
known here, there is no share of a peak.

Nothing of it decides a result: it is shown and recorded, and no file of a stage has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tinygptv.planning.compute import pass_operations, peak_of

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Config
    from tinygptv.data.batches import Batch
    from tinygptv.ground.workers import Workers
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

SAMPLES = "samples_per_second"
SHOWN = {
    SAMPLES: ("samples/s", 1),
    "tokens_per_second": ("tokens/s", 1),
    "data_wait": ("wait %", 100),
    "mfu": ("MFU %", 100),
    "gpu_memory_gigabytes": ("GB", 1),
    "gpu_utilization_percentage": ("GPU %", 1),
}
"""Value → what the progress calls it, and how many of these are one."""


@dataclass(slots=True)
class _Passed:
    """What went by since a moment."""

    since: float
    samples: int = 0
    tokens: int = 0
    operations: float = 0.0
    waited: float = 0.0


class Throughput:
    """Looks at the batches of a stage on their way to its loop."""

    def __init__(
        self, config: Config, name: str, model: TinyGPTVForConditionalGeneration, device: torch.device, workers: Workers
    ) -> None:
        """Begin to count.

        Args:
            config: the profile.
            name: the stage.
            model: as it trains.
            device: where it is.
            workers: those who share the stage; what this process does counts for each.
        """
        import torch

        self._config, self._stage, self._device, self._workers = config, config.stage(name), device, workers
        self._peak = peak_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        lora = [p.numel() for own, p in model.named_parameters() if ".lora_" in own]
        self._matrices, self._lora = block_matrices(model), sum(lora)
        self._passed, self._all = _Passed(time.monotonic()), _Passed(time.monotonic())

    def restart(self) -> None:
        """Count anew, as after a point of the curve."""
        self._passed = _Passed(time.monotonic())

    def watched(self, steps: Iterable[Sequence[Batch]]) -> Iterator[Sequence[Batch]]:
        """The same batches, looked at as they go by."""
        steps = iter(steps)
        while True:
            asked = time.monotonic()
            micro_batches = next(steps, None)
            if micro_batches is None:
                return
            waited = time.monotonic() - asked
            lengths = [length for batch in micro_batches for length in batch.attention_mask.sum(dim=1).tolist()]
            operations = 0.0
            if self._peak is not None:
                learned = sum(batch.target_tokens for batch in micro_batches)
                images = sum(len(batch.image_features) for batch in micro_batches)
                work = pass_operations(self._config, lengths, learned, images, matrices=self._matrices, lora=self._lora)
                operations = work.forward + work.backward
            for passed in (self._passed, self._all):
                passed.samples += len(lengths)
                passed.tokens += sum(lengths)
                passed.operations += operations
                passed.waited += waited
            yield micro_batches

    def values(self, *, whole: bool = False) -> dict[str, float]:
        """What there is to say since ``restart``, or of the ``whole`` time."""
        passed = self._all if whole else self._passed
        seconds = max(time.monotonic() - passed.since, 1e-9)
        found = {
            SAMPLES: self._workers.size * passed.samples / seconds,
            "tokens_per_second": self._workers.size * passed.tokens / seconds,
            "data_wait": passed.waited / seconds,
        }
        if self._peak is not None:
            found["mfu"] = passed.operations / seconds / self._peak
        return found | self._of_gpu()

    def shown(self) -> dict[str, float]:
        """``values`` for the progress line."""
        return {SHOWN[key][0]: value * SHOWN[key][1] for key, value in self.values().items()}

    def of_each(self) -> dict[str, float]:
        """Samples a second of each process since ``restart``, by its number; all of them call this together."""
        if self._workers.size == 1:
            return {}
        own = self._passed.samples / max(time.monotonic() - self._passed.since, 1e-9)
        return {f"{SAMPLES}/{rank}": float(told) for rank, told in enumerate(self._workers.tell(f"{own:.6g}"))}

    def _of_gpu(self) -> dict[str, float]:
        import torch

        if self._device.type != "cuda":
            return {}
        found = {"gpu_memory_gigabytes": torch.cuda.max_memory_reserved(self._device) / 1e9}
        if find_spec("pynvml"):  # MLflow's own monitor needs it, too
            found["gpu_utilization_percentage"] = float(torch.cuda.utilization(self._device))
        return found


def block_matrices(model: TinyGPTVForConditionalGeneration) -> int:
    """Numbers in the matrices of the language model's blocks, adapters not among them, in whatever format they are."""
    from tinygptv.model.language import architecture_of

    blocks = architecture_of(model.config.text_config).blocks_of(model.language_model)
    tensors = [*blocks.named_parameters(), *blocks.named_buffers()]
    return sum(tensor.numel() for own, tensor in tensors if tensor.ndim == 2 and ".lora_" not in own)
