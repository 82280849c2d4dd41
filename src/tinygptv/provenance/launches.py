"""What torch's profiler saw of training steps: where the time went, and how many operations were launched.

On a GPU a launch is a kernel that the processor starts there. On a CPU it is an operation that computes and calls no
other: views and allocations are none. The two are not the same number, and each has its name.

Source: torch's ``torch/autograd/profiler_util.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.profiler import profile

DATA_WAIT = "data wait"
"""Name of a mark around the wait for a batch."""
PHASES = (
    (DATA_WAIT, (DATA_WAIT,)),
    ("backward pass", ("autograd::engine::evaluate_function",)),
    ("optimizer", ("Optimizer.step", "aten::_foreach_norm", "aten::_foreach_mul_", "aten::linalg_vector_norm")),
)
"""Phase of a step → how the outermost events in it begin; all other outermost operations are the forward pass."""
KINDS = (
    ("matrix products", ("mm", "gemm", "bmm", "linear", "matmul", "cutlass", "int8_scaled")),
    ("attention", ("attention", "flash", "fmha", "softmax")),
    ("norms", ("norm",)),
    ("copies and casts", ("copy", "memcpy", "cat", "contiguous", "clone")),
    ("optimizer", ("adam", "foreach")),
    ("random", ("dropout", "bernoulli", "rand")),
    ("loss, lookups", ("cross_entropy", "nll_loss", "index", "gather", "embedding")),
)
"""Kind of work → what its kernels' or operations' names contain, the first that fits; others are elementwise."""
NO_WORK = frozenset(
    f"aten::{name}"
    for name in (
        *("empty", "empty_like", "empty_strided", "new_empty", "view", "reshape", "as_strided", "t", "transpose"),
        *("permute", "expand", "unsqueeze", "squeeze", "slice", "select", "unbind", "split", "narrow", "alias"),
        *("detach", "detach_", "result_type", "resolve_conj", "resolve_neg", "lift_fresh", "_unsafe_view", "flatten"),
        *("is_nonzero", "item", "_local_scalar_dense", "resize_", "unflatten", "view_as", "chunk", "expand_as"),
    )
)
"""Operations that neither read nor write a number."""


@dataclass(slots=True)
class Launches:
    """Of some steps together."""

    steps: int
    seconds: float
    """By the clock."""
    phases: dict[str, float]
    """Phase → seconds of the processor's main thread."""
    kinds: dict[str, float]
    """Kind of work → seconds: of the GPU's kernels where there are any, else of operations."""
    counts: Counter[str] = field(default_factory=Counter)
    """Operation, or kernel → how often."""
    gpu: bool = False

    @property
    def a_step(self) -> float:
        """Launches of a step."""
        return sum(self.counts.values()) / self.steps

    @property
    def busy(self) -> float | None:
        """Share of the time in which the GPU computes."""
        return sum(self.kinds.values()) / self.seconds if self.gpu else None


def launches(found: profile, steps: int, seconds: float) -> Launches:
    """What a profile of so many steps says."""
    events: list[Any] = list(found.events() or ())
    kernels = [event for event in events if event.device_type.name == "CUDA" and not event.is_user_annotation]
    operations = [event for event in events if event.device_type.name == "CPU"]
    phases = dict.fromkeys((*(phase for phase, _ in PHASES), "forward pass"), 0.0)
    for event in outermost(operations):
        phase = next((phase for phase, starts in PHASES if event.name.startswith(starts)), "forward pass")
        phases[phase] += event.time_range.elapsed_us() / 1e6
    counts: Counter[str] = Counter()
    kinds: dict[str, float] = {}
    if kernels:
        for event in kernels:
            counts[event.name] += 1
            kinds[kind(event.name)] = kinds.get(kind(event.name), 0.0) + event.time_range.elapsed_us() / 1e6
    else:
        for event in operations:
            if event.name.startswith("aten::") and event.self_cpu_time_total:
                kinds[kind(event.name)] = kinds.get(kind(event.name), 0.0) + event.self_cpu_time_total / 1e6
        counts.update(event.name for event in operations if computes(event))
    return Launches(steps, seconds, phases, kinds, counts, gpu=bool(kernels))


def outermost(events: Iterable[Any]) -> list[Any]:
    """Events within no other one."""
    return [event for event in events if event.cpu_parent is None]


def computes(event: Any) -> bool:
    """Whether an event of the processor is an operation that computes, and no other within it does."""
    if not event.name.startswith("aten::") or event.name in NO_WORK:
        return False
    return not any(computes(child) or any(map(computes, child.cpu_children)) for child in event.cpu_children)


def kind(name: str) -> str:
    """The kind of work of a kernel or operation."""
    small = name.lower()
    return next((kind for kind, parts in KINDS if any(part in small for part in parts)), "elementwise and sums")
