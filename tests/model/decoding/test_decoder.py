"""The loop over tokens says what transformers' does, with slots in use and with fixed shapes, compiled or not."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from tests.serving.helpers import QUESTIONS, TOKENS, strong_model
from tinygptv.ground.errors import NotFiniteError
from tinygptv.model import int8
from tinygptv.model.decoding.decoder import Decoder
from tinygptv.model.decoding.slots import Slots, bucket
from tinygptv.model.decoding.step import twin
from tinygptv.model.frozen8bit import FrozenLinear8bit
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.profile import from_profile

ROWS = 5


@pytest.fixture(scope="module")
def make(smoke, processor):
    """Models of three blocks with strong opinions, which end some answers by themselves."""
    text = smoke.model.text.model_copy(update={"num_hidden_layers": 3})
    sizes = from_profile(smoke.model.model_copy(update={"text": text}), processor.tokenizer.eos_token_id)

    def make_one() -> VisionLanguageModel:
        model = strong_model(TinyGPTVForConditionalGeneration(sizes), processor, seed=4)
        with torch.no_grad():
            model.model.language_model.lm_head.weight[processor.end_mark_id] *= 4.0
        return model

    return make_one


@pytest.fixture(scope="module")
def full(make):
    """Read only."""
    return make()


@pytest.fixture
def eight(make):
    """One with its blocks in 8 bits, read without activations in 8 bits."""
    model = make()
    model.model.requires_grad_(False)
    int8.quantize_base(model.model.language_model, outlier_threshold=6.0)
    for module in model.model.modules():
        if isinstance(module, FrozenLinear8bit):
            module.weight_only = True
    return model


def asked(model: VisionLanguageModel, rows: int = ROWS) -> tuple[torch.Tensor, list[str]]:
    """Images and prompts of different lengths."""
    features_BQD = 3 * torch.randn(rows, 4, 32, generator=torch.Generator().manual_seed(0))
    return features_BQD, [f"###Human: <ImageHere> {QUESTIONS[i % 5]} ###Assistant: " for i in range(rows)]


def answers(model: VisionLanguageModel, **how: bool) -> list[object]:
    """What a model says, whose loop works like this."""
    model.decoder = Decoder(model.model, **how)
    try:
        return [*model.generate(*asked(model)), *model.generate(*asked(model, rows=1)), *model.generate(*asked(model))]
    finally:
        del model.decoder


def theirs(model: VisionLanguageModel) -> list[list[int]]:
    """Tokens of transformers' own loop over a batch that is padded on the left, up to an end."""
    features_BQD, prompts = asked(model)
    inputs = model.processor.pad([model.processor.encode_prompt(prompt) for prompt in prompts])
    with torch.inference_mode():
        output_BT = model.model.generate(
            **inputs, image_features=features_BQD, do_sample=False, eos_token_id=model.processor.end_ids
        )
    new, ends = output_BT[:, inputs["input_ids"].shape[1] :].tolist(), set(model.processor.end_ids)
    return [ids[: next((at for at, token in enumerate(ids) if token in ends), len(ids))] for ids in new]


def test_a_padded_batch_is_answered_as_transformers_does(full):
    expected = theirs(full)
    assert {len(ids) == TOKENS for ids in expected} == {True, False}, "some must end by themselves, and some be cut"
    found = full.generate(*asked(full))
    assert [answer.text for answer in found] == [full.processor.decode_answer(ids) for ids in expected]
    assert [answer.tokens for answer in found] == [len(ids) for ids in expected]


def test_slots_of_fixed_shapes_give_the_same_answers_and_are_used_again(full, monkeypatch):
    expected, made = answers(full), []
    first = Slots.__init__
    monkeypatch.setattr(Slots, "__init__", lambda self, *a, **n: made.append(a[1:]) or first(self, *a, **n))
    assert answers(full, graphs=True) == expected
    assert made == [(8, 64), (1, 64)]


@pytest.mark.parametrize("name", ["eight", pytest.param("full", marks=pytest.mark.drills)])
def test_one_compiled_code_is_that_of_all_blocks(request, monkeypatch, name):
    """Without a break, for each count of rows, and with other counts once more; the real backend needs a compiler."""
    model, counter = request.getfixturevalue(name), CompileCounter()
    expected = answers(model)
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter, fullgraph=True))
    assert answers(model, graphs=True, compiled=True) == expected
    assert counter.frame_count == 4  # a block's and the choice's, of many rows and of one


def test_a_twin_shares_its_tensors_and_forgets_its_number(full):
    block = full.model.language_model.model.layers[1]
    other = twin(block)
    assert (block.self_attn.layer_idx, other.self_attn.layer_idx) == (1, 0)
    assert all(a is b for a, b in zip(block.parameters(), other.parameters(), strict=True))
    assert other.self_attn.config is block.self_attn.config


@pytest.mark.parametrize("graphs", [False, True])
def test_numbers_that_are_none_are_told(make, graphs):
    model = make()
    with torch.no_grad():
        model.model.language_model.lm_head.bias[7] = float("nan")
    with pytest.raises(NotFiniteError):
        answers(model, graphs=graphs)


@pytest.mark.parametrize(("asked_for", "given"), [((1, 64), (1, 64)), ((3, 65), (4, 128)), ((64, 1), (64, 64))])
def test_buckets(asked_for, given):
    assert bucket(*asked_for) == given
