"""A micro-batch in one row: what becomes of its tokens, that the loop makes it so, and that nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.training.test_compiled import masked
from tinygptv.config import Config, Stage
from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.model import TinyGPTVForConditionalGeneration
from tinygptv.model.language import BY_NAME
from tinygptv.model.profile import from_profile
from tinygptv.training.loop import TrainingState, held_out_values
from tinygptv.training.loss import batch_loss, placed
from tinygptv.training.step import optimizer_step

NewTraining = Callable[..., TrainingState]
MakeBatch = Callable[..., Batch]
CPU = torch.device("cpu")
IMAGE = 50


@pytest.fixture
def conversation() -> Batch:
    """Two samples: a text of a question and an answer, then an image with two questions and a BOS token (0) between."""
    ids = torch.tensor([[0, 11, 12, 13, 0, 0, 0, 0], [0, IMAGE, IMAGE, 21, 22, 0, 23, 24]])
    labels = torch.where(torch.isin(ids, torch.tensor([12, 13, 22, 24])), ids, IGNORE_INDEX)
    labels[1, 0] = 0  # nobody is before it to predict it
    mask = torch.tensor([[1] * 4 + [0] * 4, [1, 1, 1, 1, 1, 0, 1, 1]])
    return Batch(("a", "b"), ids, mask, labels, torch.zeros(1, 2, 4))


def test_padding_and_what_nothing_attends_to_are_left_out_and_the_rest_keeps_its_position(conversation: Batch) -> None:
    here = placed(conversation, IMAGE, CPU, packing=True)
    assert here.input_ids.tolist() == [[0, 11, 12, 13, 0, IMAGE, IMAGE, 21, 22, 23, 24]]
    assert here.position_ids is not None and here.boundaries is not None and here.attention_mask is None
    assert here.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 4, 6, 7]]
    assert here.boundaries.starts.tolist() == [0, 4, 11]
    assert (here.slots.tolist(), here.targets.tolist()) == ([5, 6], [1, 2, 7, 9])
    assert here.target_ids.tolist() == [12, 13, 22, 24]
    learned = [place for place, label in enumerate(here.labels[0].tolist()) if label != IGNORE_INDEX]
    assert learned == [place + 1 for place in here.targets.tolist()]


def test_a_token_that_predicts_is_never_left_out(conversation: Batch) -> None:
    labels = conversation.labels.clone()
    labels[1, 6] = 23  # what the BOS token between the turns would predict
    with pytest.raises(AssertionError, match="predicts nothing"):
        placed(replace(conversation, labels=labels), IMAGE, CPU, packing=True)


def keep_shape(shapes: list[tuple[int, ...]], _: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    shapes.append(tuple(given[0].shape[:2]))


def test_the_loop_puts_its_micro_batches_and_its_looks_in_rows(
    new_training: NewTraining, make_batch: MakeBatch, stage: Stage
) -> None:
    batches = [make_batch(0, slice(4)), masked(make_batch(1, slice(4, 8)))]
    looked: list[dict[str, float]] = []
    steps: list[tuple[float, float]] = []
    for packing in (False, True):
        state = new_training()
        shapes: list[tuple[int, ...]] = []
        switched = stage.model_copy(update={"packing": packing})
        block = state.model.language_model.model.layers[0]
        block.register_forward_pre_hook(partial(keep_shape, shapes))
        looked.append({str(key): value for key, value in held_out_values(state, batches, switched, None).items()})
        state.model.eval()  # dropout draws other masks for a row
        steps.append(optimizer_step(state, batches, switched)[:2])
        rows = [(1, int(b.attention_mask.sum())) if packing else (*b.input_ids.shape,) for b in batches]
        assert shapes == 2 * rows
    assert_close(looked[1], looked[0], rtol=1e-6, atol=0)
    assert_close(steps[1], steps[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("label_only", [False, True])
@pytest.mark.parametrize("architecture", BY_NAME)
def test_a_pass_asks_its_device_for_nothing(
    smoke: Config, make_batch: MakeBatch, architecture: str, label_only: bool, packing: bool
) -> None:
    """Tensors without memory have no answer to a question: what would wait for a GPU fails here."""
    text = {"architecture": architecture, "num_key_value_heads": 1 if architecture == "llama" else None}
    sizes = smoke.model.model_copy(update={"text": smoke.model.text.model_copy(update=text)})
    nowhere = torch.device("meta")
    model = TinyGPTVForConditionalGeneration(from_profile(sizes, end_of_text_id=0)).to(nowhere).train()
    loss = batch_loss(model, make_batch(0), nowhere, label_only=label_only, packing=packing)
    loss.backward()
    assert loss.device == nowhere and model.projector.linear_1.weight.grad is not None
