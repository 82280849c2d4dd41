"""The loss of a micro-batch, without a wait for the device.

Places of image slots and of learned tokens are found on the CPU, where the batch is, and go along with it; to a GPU all
of it goes from pinned memory, beside what runs there.

Shapes: B samples, T tokens, N images, Q queries, D width, S image slots, L tokens that carry loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.ground.runtime import autocast
from tinygptv.model.modeling import token_loss

if TYPE_CHECKING:
    import torch

    from tinygptv.data.batches import Batch
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBatch:
    """A micro-batch on the device that computes its loss."""

    input_ids: torch.Tensor
    """[B, T]."""
    attention_mask: torch.Tensor | None
    """[B, T]; None where causality is all that attention has to heed."""
    image_features: torch.Tensor
    """[N, Q, D]; N = 0 for texts alone: the projection has a part in the loss all the same, and a gradient, which is
    nothing."""
    labels: torch.Tensor
    """[B, T]."""
    slots: torch.Tensor
    """Places of the image slots among all tokens, row by row [S]."""
    targets: torch.Tensor
    """Places of the tokens before those that carry loss [L]."""
    target_ids: torch.Tensor
    """Those that carry loss [L]."""


def placed(batch: Batch, image_token_id: int, device: torch.device) -> PlacedBatch:
    """A micro-batch on a device, with what would have to be looked for there."""
    import torch

    def there(tensor: torch.Tensor) -> torch.Tensor:
        if device.type == "cuda" and tensor.device.type == "cpu":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)

    def places(found_BT: torch.Tensor) -> torch.Tensor:
        return found_BT.flatten().nonzero().flatten()

    next_BT = torch.nn.functional.pad(batch.labels[:, 1:], (0, 1), value=IGNORE_INDEX)
    targets_L = places(next_BT != IGNORE_INDEX)
    return PlacedBatch(
        input_ids=there(batch.input_ids),
        attention_mask=there(batch.attention_mask) if batch.needs_mask else None,
        image_features=there(batch.image_features),
        labels=there(batch.labels),
        slots=there(places(batch.input_ids == image_token_id)),
        targets=there(targets_L),
        target_ids=there(next_BT.flatten()[targets_L]),
    )


def batch_loss(
    model: TinyGPTVForConditionalGeneration, batch: Batch, device: torch.device, *, label_only: bool
) -> torch.Tensor:
    """Summed cross-entropy over the target tokens of a micro-batch; ``label_only`` computes no other logits."""
    import torch

    here = placed(batch, model.config.image_token_id, device)
    with autocast(model.language_model):
        embedded_BTD = model.embed(here.input_ids, model.projector(here.image_features), here.slots)
        if not label_only:
            output = model(inputs_embeds=embedded_BTD, attention_mask=here.attention_mask, use_cache=False)
            return token_loss(output.logits, here.labels)
        logits_LV = model.target_logits(embedded_BTD, here.attention_mask, here.targets)
        return torch.nn.functional.cross_entropy(logits_LV.float(), here.target_ids, reduction="sum")
