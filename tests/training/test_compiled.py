"""Blocks compiled: the plain path's losses and gradients, no breaks in a graph, one graph for all lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch.testing import assert_close

from tests.training.conftest import without_dropout
from tinygptv.config import Config, Stage
from tinygptv.data.batches import Batch
from tinygptv.ground import runtime
from tinygptv.training import compiled
from tinygptv.training.loop import TrainingState
from tinygptv.training.loss import batch_loss

NewTraining = Callable[..., TrainingState]
MakeBatch = Callable[..., Batch]
CPU = torch.device("cpu")
BACKENDS = ["eager", pytest.param("inductor", marks=pytest.mark.drills)]


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:
    """Graphs and torch's settings for them, as they were."""
    from torch._dynamo import config as tracing
    from torch.fx.experimental import _config as shapes

    with tracing.patch(), shapes.patch():  # type: ignore[attr-defined]
        torch._dynamo.reset()
        counters.clear()
        yield
        torch._dynamo.reset()


def profile(smoke: Config, stage: Stage, **changes: Any) -> Config:
    """The smoke profile with stage 4 as the tests train it, compiled."""
    turns = stage.prompt.model_copy(update={"bos_between_turns": True})
    settings = {"compile": True, "label_only_logits": True, "prompt": turns, **changes}
    return smoke.model_copy(update={"stage4": stage.model_copy(update=settings)})


def masked(batch: Batch) -> Batch:
    """With a token inside that nothing attends to, as a BOS token before a later question."""
    question = int((batch.labels[0] != -100).int().argmax()) - 2
    mask_BT = batch.attention_mask.clone()
    mask_BT[:, question] = 0
    return replace(batch, attention_mask=mask_BT)


def text_alone(batch: Batch, image_token_id: int) -> Batch:
    ids_BT = batch.input_ids.masked_fill(batch.input_ids == image_token_id, 7)
    return replace(batch, input_ids=ids_BT, image_features=batch.image_features[:0])


def one_answer_token(batch: Batch) -> Batch:
    last_BT = batch.labels != -100
    first_BT = last_BT & (last_BT.cumsum(dim=1) == 1)
    return replace(batch, labels=batch.labels.masked_fill(~first_BT, -100))


def loss_and_gradients(
    state: TrainingState, batch: Batch, *, packing: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    state.model.zero_grad(set_to_none=True)
    loss = batch_loss(state.model, batch, CPU, label_only=True, packing=packing)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in state.parameters.items() if p.grad is not None}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("checkpointing", "packing", "graphs"),
    [(False, False, 2), (True, False, 2), (True, True, 1)],
)
def test_losses_and_gradients_are_those_of_the_plain_path_and_one_graph_serves_all_lengths(
    new_training: NewTraining,
    make_batch: MakeBatch,
    smoke: Config,
    stage: Stage,
    tmp_path: Path,
    backend: str,
    checkpointing: bool,
    packing: bool,
    graphs: int,
) -> None:
    """Without packing there is a graph with a mask and one without."""
    plain, fast = without_dropout(new_training()), without_dropout(new_training())
    config = profile(smoke, stage, packing=packing)
    if checkpointing:
        fast.model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    plain.model.train()
    compiled.compile_blocks(fast.model, config, "stage4", tmp_path, backend=backend)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == graphs
    image_token = fast.model.config.image_token_id
    rows = [make_batch(0), make_batch(1, slice(4)), make_batch(2, slice(2, 8)), masked(make_batch(3, slice(4)))]
    rows += [text_alone(rows[1], image_token), one_answer_token(rows[2])]
    for batch in rows:
        loss, found = loss_and_gradients(fast, batch, packing=packing)
        expected_loss, expected = loss_and_gradients(plain, batch)
        assert_close(loss, expected_loss, rtol=1e-6, atol=0)
        assert found.keys() == expected.keys() == fast.parameters.keys()
        for name, gradient in expected.items():
            assert (found[name] - gradient).norm() <= 3e-6 * gradient.norm(), name
    assert counters["stats"]["unique_graphs"] == graphs, "a length was compiled anew"
    assert not counters["graph_break"]


def test_the_first_look_changes_nothing_and_answers_are_those_of_blocks_as_they_were_written(
    new_training: NewTraining, smoke: Config, stage: Stage, tmp_path: Path
) -> None:
    state = new_training()
    before = {name: p.detach().clone() for name, p in state.parameters.items()}
    compiled.compile_blocks(state.model, profile(smoke, stage), "stage4", tmp_path, backend="eager")
    assert_close(dict(state.parameters), before, rtol=0, atol=0)
    assert all(p.grad is None for p in state.parameters.values())
    graphs = counters["stats"]["unique_graphs"]
    state.model.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        ids_BT = torch.tensor([[1, 2, 3]])
        state.model.generate(input_ids=ids_BT, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert counters["stats"]["unique_graphs"] == graphs


def test_the_first_look_is_at_every_way_in_which_a_stage_calls_its_blocks(smoke: Config, stage: Stage) -> None:
    def shapes(**changes: Any) -> list[tuple[int, int, bool]]:
        config = profile(smoke, stage, **changes)
        found = compiled.largest_batches(config, config.stage4)
        return [(*batch.input_ids.shape, batch.needs_mask) for batch in found]

    tokens = stage.max_sequence_tokens
    apart = stage.prompt.model_copy(update={"bos_between_turns": False})
    assert shapes(prompt=apart, batch_size=8, micro_batch_size=4) == [(4, tokens, False)]
    table = {"batch_size": {"a": 1, "b": 5}, "micro_batch_size": 3}
    assert shapes(**table) == [(3, tokens, False), (3, tokens, True), (1, tokens, False), (1, tokens, True)]
    assert shapes(**table, packing=True) == [(3, tokens, False), (1, tokens, False)], "a row has no mask"


def test_no_choice_is_made_by_time_where_bits_shall_be_equal() -> None:
    from torch._inductor import config as inductor

    for key, value in runtime.untimed().items():
        assert hasattr(inductor, key) and isinstance(value, bool)
    assert runtime.untimed()["deterministic"]
