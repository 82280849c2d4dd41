"""Samples in one row: each has what it has alone, whatever lies beside it, and both kernels give the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters
from torch.fx.experimental import _config as shapes
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close
from transformers import PreTrainedModel

from tests.model.twins import randomise
from tinygptv.config import Config
from tinygptv.model.language import BY_NAME, packed
from tinygptv.model.language.packed import attention, boundaries_of
from tinygptv.model.profile import from_profile

CPU = torch.device("cpu")
LENGTHS = (5, 1, 9, 2)
HEADS = {"a key for every query": (4, 4), "one key for all": (4, 1), "half of them": (4, 2)}
Heads = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(params=BY_NAME)
def model(request: pytest.FixtureRequest, smoke: Config) -> PreTrainedModel:
    """Every language model of the table, in training without dropout."""
    changes = {"architecture": request.param, "num_key_value_heads": 1 if request.param == "llama" else None}
    sizes = smoke.model.model_copy(update={"text": smoke.model.text.model_copy(update={**changes, "resid_pdrop": 0.0})})
    config = from_profile(sizes, end_of_text_id=0).text_config
    made = BY_NAME[request.param].model._from_config(config)
    randomise(made)
    return made.train()


def in_one_row(model: PreTrainedModel, samples: list[torch.Tensor]) -> torch.Tensor:
    positions_1T = torch.cat([torch.arange(len(sample)) for sample in samples])[None]
    boundaries = boundaries_of([len(sample) for sample in samples], CPU)
    logits_1TV: torch.Tensor = model(
        inputs_embeds=torch.cat(samples)[None], position_ids=positions_1T, boundaries=boundaries, use_cache=False
    ).logits
    return logits_1TV[0]


def samples_of(model: PreTrainedModel) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(length, model.config.hidden_size, requires_grad=True) for length in LENGTHS]


@pytest.mark.parametrize("changed", range(len(LENGTHS)))
def test_no_sample_s_logits_move_when_another_changes(model: PreTrainedModel, changed: int) -> None:
    samples = samples_of(model)
    before = in_one_row(model, samples).split(LENGTHS)
    samples[changed] = torch.randn_like(samples[changed])
    after = in_one_row(model, samples).split(LENGTHS)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(old, new) is (number != changed)


def test_no_gradient_goes_from_one_sample_to_another(model: PreTrainedModel) -> None:
    samples = samples_of(model)
    in_one_row(model, samples).split(LENGTHS)[2].square().sum().backward()
    for number, sample in enumerate(samples):
        assert sample.grad is not None and bool(sample.grad.any()) is (number == 2)


def test_a_sample_in_a_row_has_what_it_has_alone(model: PreTrainedModel) -> None:
    samples = samples_of(model)
    for sample, found in zip(samples, in_one_row(model, samples).split(LENGTHS), strict=True):
        assert_close(found, model(inputs_embeds=sample[None], use_cache=False).logits[0], rtol=1e-5, atol=1e-5)


def heads_of(number: str, width: int = 8, dtype: torch.dtype = torch.float32, device: torch.device = CPU) -> Heads:
    torch.manual_seed(3)
    queries, keys = HEADS[number]
    made = [torch.randn(1, sum(LENGTHS), count, width, dtype=dtype, device=device) for count in (queries, keys, keys)]
    query, key, value = (heads.requires_grad_() for heads in made)
    return query, key, value


def by_a_mask(query_1THC: torch.Tensor, key_1TGC: torch.Tensor, value_1TGC: torch.Tensor, scale: float) -> torch.Tensor:
    """The oracle: every pair of the row's tokens, and a mask that leaves each sample's own."""
    device, total = query_1THC.device, query_1THC.shape[1]
    sample_T = torch.arange(len(LENGTHS), device=device).repeat_interleave(torch.tensor(LENGTHS, device=device))
    mask_TT = (sample_T[:, None] == sample_T) & torch.ones(total, total, dtype=torch.bool, device=device).tril()
    group = query_1THC.shape[2] // key_1TGC.shape[2]
    heads = query_1THC, *(part.repeat_interleave(group, dim=2) for part in (key_1TGC, value_1TGC))
    context_1HTC = scaled_dot_product_attention(*(part.transpose(1, 2) for part in heads), mask_TT, scale=scale)
    return context_1HTC.transpose(1, 2)


def with_gradients(context: torch.Tensor, heads: Heads) -> list[torch.Tensor]:
    weights = torch.linspace(-1, 1, context.numel(), device=context.device).view_as(context)
    return [context, *torch.autograd.grad((context.float() * weights).sum(), heads)]


@pytest.fixture
def varlen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What stands for torch's kernel, with the arguments that torch 2.11 knows; the numbers of tokens it was given."""
    given: list[int] = []

    def stand_in(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seq_q: torch.Tensor,
        cu_seq_k: torch.Tensor,
        max_q: int,
        max_k: int,
        *,
        scale: float,
        window_size: tuple[int, int],
    ) -> torch.Tensor:
        assert query.shape == key.shape == value.shape and query.dtype == key.dtype == value.dtype
        assert cu_seq_q is cu_seq_k and cu_seq_q.dtype == torch.int32 and cu_seq_q.diff().tolist() == [*LENGTHS]
        assert (max_q, max_k, window_size) == (max(LENGTHS), max(LENGTHS), (-1, 0))
        assert {heads.stride(-1) for heads in (query, key, value)} == {1}, "what the kernel asks for"
        given.append(len(query))
        return by_a_mask(query[None], key[None], value[None], scale)[0]

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", stand_in)
    return given


@pytest.mark.parametrize("number", HEADS)
@pytest.mark.parametrize("kernel", [packed.in_a_row, packed.side_by_side])
def test_both_kernels_are_the_mask_s(varlen: list[int], number: str, kernel: Callable[..., torch.Tensor]) -> None:
    heads, boundaries = heads_of(number), boundaries_of(LENGTHS, CPU)
    expected = with_gradients(by_a_mask(*heads, 0.3), heads)
    found = with_gradients(kernel(*(part[0] for part in heads), boundaries, 0.3)[None], heads)
    assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("flash", "dtype", "width", "row"),
    [
        (True, "bfloat16", 8, True),
        (True, "float32", 8, False),
        (False, "bfloat16", 8, False),
        (True, "bfloat16", 12, False),
    ],
)
def test_a_row_stays_one_where_there_is_a_kernel_for_it(
    varlen: list[int], flash: bool, dtype: str, width: int, row: bool
) -> None:
    query, key, value = heads_of("half of them", width)  # float32, as norms leave them
    boundaries = boundaries_of(LENGTHS, CPU)
    context = attention(query, key, value.to(getattr(torch, dtype)), replace(boundaries, flash=flash), 0.3)
    assert str(context.dtype) == f"torch.{dtype}" and context.shape == query.shape
    assert varlen == [sum(LENGTHS)] * row
    assert_close(context.float(), by_a_mask(query, key, value, 0.3), rtol=0.02, atol=0.02)


def test_torch_s_own_kernel_takes_what_it_is_given_and_is_one_graph_for_all_rows() -> None:
    """On tensors without memory, as the kernel is for CUDA alone."""
    nowhere = torch.device("meta")
    counters.clear()
    compiled = torch.compile(attention, backend="eager", dynamic=True, fullgraph=True)
    with shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
        for lengths in ((5, 4, 3), (7, 2), (6,), (1, 1, 9, 2)):
            boundaries = boundaries_of(lengths, nowhere).sent(lambda tensor: tensor.to(nowhere))
            query, key, value = (
                torch.randn(1, sum(lengths), heads, 80, device=nowhere, dtype=dtype, requires_grad=True)
                for heads, dtype in ((4, torch.float32), (2, torch.float32), (2, torch.bfloat16))
            )
            context = compiled(query, key, value, replace(boundaries, flash=True), 0.3)
            context.sum().backward()
            assert (context.shape, context.dtype) == (query.shape, torch.bfloat16)
            assert key.grad is not None and key.grad.shape == key.shape
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    torch._dynamo.reset()


def test_boundaries_say_where_samples_begin_and_where_tokens_go() -> None:
    found = boundaries_of([3, 1, 2], CPU)
    assert (found.starts.tolist(), found.starts.dtype) == ([0, 3, 4, 6], torch.int32)
    assert (found.places.tolist(), found.longest, found.flash) == ([0, 1, 2, 3, 6, 7], 3, False)


@pytest.mark.gpu
@pytest.mark.parametrize("width", [64, 80])
@pytest.mark.parametrize("number", HEADS)
def test_a_gpu_s_kernels_are_the_mask_s_and_repeat_their_bits(number: str, width: int) -> None:
    gpu = torch.device("cuda")
    boundaries = boundaries_of(LENGTHS, gpu).sent(lambda tensor: tensor.to(gpu))
    assert boundaries.flash, "flash attention needs Ampere or later"

    def found(kernel: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        heads = heads_of(number, width, torch.bfloat16, gpu)
        return with_gradients(kernel(*(part[0] for part in heads), boundaries, 0.3)[None], heads)

    heads = heads_of(number, width, torch.bfloat16, gpu)
    expected = with_gradients(by_a_mask(*heads, 0.3), heads)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        for kernel in (packed.in_a_row, packed.side_by_side):
            first, again = found(kernel), found(kernel)
            assert all(map(torch.equal, first, again))
            for mine, theirs in zip(first, expected, strict=True):
                assert (mine - theirs).norm() <= 0.01 * theirs.norm()
    finally:
        torch.use_deterministic_algorithms(before)
