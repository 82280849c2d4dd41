"""The loss of a micro-batch, without a wait for the device.

Places of image slots and of learned tokens are found on the CPU, where the batch is, and go along with it; to a GPU all
of it goes from pinned memory, beside what runs there.

With packing all samples lie in one row: padding is left out, and so is a token to which nothing attends. It is asked
for nothing either, so that nobody misses it; what follows keeps its position.

Shapes: B samples, or 1 row of them, T tokens, N images, Q queries, D width, S image slots, L tokens that carry loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.ground.runtime import autocast
from tinygptv.model.modeling import token_loss

if TYPE_CHECKING:
    import torch

    from tinygptv.data.batches import Batch
    from tinygptv.model.language.packed import Boundaries
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBatch:
    """A micro-batch on the device that computes its loss."""

    input_ids: torch.Tensor
    """[B, T]."""
    attention_mask: torch.Tensor | None
    """[B, T]; None where causality is all that attention has to heed, and the row's boundaries."""
    position_ids: torch.Tensor | None
    """Positions of the row's tokens in their samples [1, T]; None: as the tokens lie."""
    boundaries: Boundaries | None
    """Of the samples in the row."""
    image_features: torch.Tensor
    """[N, Q, D]; N = 0 for texts alone: the projection has a part in the loss all the same, and a gradient, which is
    nothing."""
    labels: torch.Tensor
    """[B, T]; a label is what the token before it predicts."""
    slots: torch.Tensor
    """Places of the image slots among all tokens, row by row [S]."""
    targets: torch.Tensor
    """Places of the tokens before those that carry loss [L]."""
    target_ids: torch.Tensor
    """Those that carry loss [L]."""

    @property
    def seen(self) -> dict[str, Any]:
        """What a token sees, as the model's forward pass takes it."""
        names = ("attention_mask", "position_ids", "boundaries")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def placed(batch: Batch, image_token_id: int, device: torch.device, *, packing: bool) -> PlacedBatch:
    """A micro-batch on a device, with what would have to be looked for there; ``packing`` puts it in one row."""
    from torch.nn.functional import pad

    from tinygptv.model.language.packed import boundaries_of

    def there(tensor: torch.Tensor) -> torch.Tensor:
        if device.type == "cuda" and tensor.device.type == "cpu":
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)

    def places(found_BT: torch.Tensor) -> torch.Tensor:
        return found_BT.flatten().nonzero().flatten()

    ids_BT, labels_BT, mask_BT = batch.input_ids, batch.labels, batch.attention_mask
    next_BT = pad(labels_BT[:, 1:], (0, 1), value=IGNORE_INDEX)
    positions, boundaries = None, None
    if packing:
        kept_BT = mask_BT.bool()
        assert bool((next_BT[~kept_BT] == IGNORE_INDEX).all()), "what nothing attends to predicts nothing"
        positions, boundaries = kept_BT.nonzero()[:, 1], boundaries_of(kept_BT.sum(dim=1).tolist(), device)
        ids_BT, next_BT = ids_BT[kept_BT][None], next_BT[kept_BT][None]
        labels_BT = pad(next_BT[:, :-1], (1, 0), value=IGNORE_INDEX)
    targets_L = places(next_BT != IGNORE_INDEX)
    return PlacedBatch(
        input_ids=there(ids_BT),
        attention_mask=there(mask_BT) if batch.needs_mask and not packing else None,
        position_ids=None if positions is None else there(positions[None]),
        boundaries=None if boundaries is None else boundaries.sent(there),
        image_features=there(batch.image_features),
        labels=there(labels_BT),
        slots=there(places(ids_BT == image_token_id)),
        targets=there(targets_L),
        target_ids=there(next_BT.flatten()[targets_L]),
    )


def batch_loss(
    model: TinyGPTVForConditionalGeneration,
    batch: Batch,
    device: torch.device,
    *,
    label_only: bool,
    packing: bool = False,
) -> torch.Tensor:
    """Summed cross-entropy over the target tokens of a micro-batch.

    Args:
        model: as a stage trains it.
        batch: the micro-batch.
        device: the model's.
        label_only: no other logits are computed.
        packing: all samples lie in one row, without padding.
    """
    here = placed(batch, model.config.image_token_id, device, packing=packing)
    return placed_loss(model, here, label_only=label_only)


def placed_loss(model: TinyGPTVForConditionalGeneration, here: PlacedBatch, *, label_only: bool) -> torch.Tensor:
    """``batch_loss`` of a micro-batch that is on the device."""
    import torch

    with autocast(model.language_model):
        embedded_BTD = model.embed(here.input_ids, model.projector(here.image_features), here.slots)
        if not label_only:
            output = model(inputs_embeds=embedded_BTD, use_cache=False, **here.seen)
            return token_loss(output.logits, here.labels)
        logits_LV = model.target_logits(embedded_BTD, here.targets, **here.seen)
        return torch.nn.functional.cross_entropy(logits_LV.float(), here.target_ids, reduction="sum")
