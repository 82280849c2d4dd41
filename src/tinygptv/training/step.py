"""A step of the optimizer, shared by processes.

The loss of a step is the sum over its target tokens divided once by their number, so that the size of micro-batches
does not change it. Micro-batches are computed one by one, each by one of the processes that share the stage, and added
in an order that their number decides (``sums.py``); then every process makes the same step. What is drawn for one, as
by dropout, is drawn from a seed that stage, step and its number give. A loss or gradient that is not finite stops the
run before the optimizer sees it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tinygptv.data.batches import batch_digest
from tinygptv.data.order import seed_of
from tinygptv.ground.errors import UserError
from tinygptv.ground.tables import some
from tinygptv.training.loss import batch_loss
from tinygptv.training.optimizer import step_if
from tinygptv.training.sums import GradientSum, Node, TreeSum, over_processes

if TYPE_CHECKING:
    import torch

    from tinygptv.config import Stage
    from tinygptv.data.batches import Batch
    from tinygptv.training.loop import TrainingState


class MadeStep(NamedTuple):
    """What a step leaves in the trace."""

    loss: float
    """Mean per target token."""
    grad_norm: float
    """Before clipping."""
    batch: str
    """Digest of the record ids."""


class DivergedError(UserError):
    """Loss or gradient became infinite or NaN; the weights are those of the step before."""


def optimizer_step(state: TrainingState, micro_batches: Sequence[Batch], stage: Stage) -> MadeStep:
    """Compute this process's micro-batches, add all processes' gradients, check, clip, step.

    Raises:
        DivergedError: the optimizer has changed nothing.
    """
    import torch

    mine = [(batch.target_tokens, batch.record_ids) for batch in micro_batches]
    told = [json.loads(text) for text in state.workers.tell(json.dumps(mine))]
    step = [leaf for leaves in told for leaf in leaves]
    target_tokens, records = sum(tokens for tokens, _ in step), [record for _, ids in step for record in ids]
    device = next(iter(state.parameters.values())).device
    tree: TreeSum[GradientSum] = TreeSum(len(step), GradientSum.add)
    for leaf, batch in zip(state.workers.share(len(step)), micro_batches, strict=True):
        torch.manual_seed(seed_of((*state.drawn_from, "drawn", state.step, leaf)))  # of every device
        loss = batch_loss(state.model, batch, device, label_only=stage.label_only_logits, packing=stage.packing)
        loss = loss / target_tokens
        loss.backward()
        tree.put(Node(0, leaf), GradientSum(loss.detach().double(), taken_gradients(state)))
    total = over_processes(tree, len(step), list(state.parameters.values()), state.workers)
    for parameter, gradient in zip(state.parameters.values(), total.gradients, strict=True):
        parameter.grad = gradient
    norm = torch.nn.utils.get_total_norm(total.gradients, error_if_nonfinite=False)
    # Nothing above or below waits for the device but the last line: AdamW itself leaves everything as it is where the
    # flag is up, and a broken gradient is not scaled, so that it can still be found.
    finite = total.loss.isfinite() & norm.isfinite()
    torch.nn.utils.clip_grads_with_norm_(
        state.parameters.values(), stage.max_grad_norm, torch.where(finite, norm, torch.zeros_like(norm))
    )
    step_if(state.optimizer, finite)
    mean_loss, total_norm = torch.stack((total.loss, norm.double())).tolist()
    if not (math.isfinite(mean_loss) and math.isfinite(total_norm)):
        raise DivergedError(describe_failure(state, records, mean_loss))
    state.optimizer.zero_grad(set_to_none=True)
    return MadeStep(mean_loss, total_norm, batch_digest(records))


def taken_gradients(state: TrainingState) -> list[torch.Tensor]:
    """The gradients of the parameters, which have none afterwards: autograd shall not add to them."""
    import torch

    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in state.parameters.values()]
    for parameter in state.parameters.values():
        parameter.grad = None
    return found


def describe_failure(state: TrainingState, records: Sequence[str], loss: float) -> str:
    """Name the step, the records and the first tensor that is not finite."""
    broken = next(
        (name for name, p in state.parameters.items() if p.grad is not None and not p.grad.isfinite().all()), None
    )
    where = f"the gradient of {broken}" if broken else f"the loss ({loss})"
    return f"step {state.step + 1}: {where} is not finite; nothing was updated. Records of the batch: {some(records)}"
