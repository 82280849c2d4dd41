"""A block of prompts is answered as transformers would answer each alone, in full precision and in 8 bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import log_softmax

from tests.serving.helpers import QUESTIONS, TOKENS, strong_model
from tinygptv.data.prompts import attended
from tinygptv.ground.errors import DataError, NotFiniteError
from tinygptv.model.answerer import Answerer, PromptRequest
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.int8 import save_quantized

IMAGES, PROMPTS = 9, 42
CHOICES = ("red", "a blue circle", "", "yes")
LONG = " and ".join(["is there a red shape"] * 9)


@pytest.fixture(scope="module")
def full(make_model, processor):
    """A model with strong opinions, which ends some answers by itself. Read only."""
    model = strong_model(make_model(seed=11), processor, seed=4)
    with torch.no_grad():
        model.model.language_model.lm_head.weight[processor.end_mark_id] *= 4.0  # it is very likely, or very unlikely
    return model


@pytest.fixture(scope="module")
def eight(full, tmp_path_factory):
    """The same in 8 bits. Read only."""
    folder = tmp_path_factory.mktemp("quantize") / "model"
    save_quantized(full, folder, outlier_threshold=0.0, max_new_tokens=TOKENS)
    return VisionLanguageModel.from_folder(folder)


@pytest.fixture(params=["full", "eight"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def features_NQD():
    return 3 * torch.randn(IMAGES, 4, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def block(processor):
    """Prompts of several forms and lengths; an image comes again, near and far, and one prompt is an image alone.

    One form is a conversation, with a BOS token before its second question that nothing attends to.
    """
    forms = (
        "###Human: <Img><ImageHere></Img> {} ###Assistant: ",
        "###Human: <Img><ImageHere></Img> [vqa] {}###Assistant: ",
        "{}: <ImageHere>",
        "###Human: <Img><ImageHere></Img> what? ###Assistant: red###<|endoftext|>###Human: {} ###Assistant: ",
    )
    texts = [forms[i % 4].format((*QUESTIONS, LONG)[i % 6]) for i in range(PROMPTS - 1)] + ["<ImageHere>"]
    choices = [processor.tokenizer(text)["input_ids"] if text else [] for text in CHOICES]
    return [
        PromptRequest(
            image=(i // 2) % IMAGES if i < 30 else i % IMAGES,
            prompt_ids=processor.encode_prompt(text),
            choices=choices[: i % 5],
        )
        for i, text in enumerate(texts)
    ]


def generated(model, features_NQD, request):
    """Token ids of transformers' own greedy answer to one prompt, with its end."""
    ids_BT, pad = torch.tensor([request.prompt_ids]), model.processor.tokenizer.pad_token_id
    with torch.inference_mode():
        output_BT = model.model.generate(
            input_ids=ids_BT,
            attention_mask=torch.tensor([attended(request.prompt_ids, pad)]),
            image_features=features_NQD[request.image, None],
            do_sample=False,
            eos_token_id=model.processor.end_ids,
            max_new_tokens=TOKENS,
        )
    return output_BT[0, ids_BT.shape[1] :].tolist()


def logprob(model, features_NQD, request, answer):
    """Of an answer's tokens, by one forward pass over all of it without a cache."""
    ids = [*request.prompt_ids, *answer]
    mask_BT = torch.tensor([attended(request.prompt_ids, model.processor.tokenizer.pad_token_id) + [1] * len(answer)])
    with torch.inference_mode():
        logits_TV = model.model(
            input_ids=torch.tensor([ids]),
            attention_mask=mask_BT,
            image_features=features_NQD[request.image, None],
            use_cache=False,
        ).logits[0]
    start = len(request.prompt_ids) - 1
    picked = log_softmax(logits_TV.float(), dim=1)[range(start, len(ids) - 1), answer]
    return float(picked.sum())


def test_answers_are_those_of_transformers_for_any_size_of_a_pass(model, features_NQD, block, processor):
    by_size = [Answerer(model, size).answer(features_NQD, block) for size in (64, 7, 3, 1)]
    assert len({answer.text for answer in by_size[0]}) > 20, "the answers must differ for this test to mean something"
    ends = set(processor.end_ids)
    theirs = [generated(model, features_NQD, request) for request in block]
    assert {bool(ends & set(ids)) for ids in theirs} == {True, False}, "some must end by themselves, and some be cut"
    for answers in by_size:
        for request, ids, answer in zip(block, theirs, answers, strict=True):
            said = ids if answer.cut else ids[:-1]
            assert answer.cut == (not ends & set(ids))
            assert (answer.tokens, answer.text) == (len(said), processor.decode_answer(said))
            torch.testing.assert_close(answer.logprob, logprob(model, features_NQD, request, ids), rtol=1e-4, atol=1e-4)


def test_the_likelihood_of_choices_is_that_of_one_pass_over_each(full, features_NQD, block, processor):
    for size in (64, 3):
        for request, answer in zip(block, Answerer(full, size).answer(features_NQD, block), strict=True):
            whole = [[*choice, processor.end_mark_id] for choice in request.choices]
            assert [choice.tokens for choice in answer.choices] == [len(ids) for ids in whole]
            found = torch.tensor([choice.logprob for choice in answer.choices])
            expected = torch.tensor([logprob(full, features_NQD, request, ids) for ids in whole])
            torch.testing.assert_close(found, expected)


def test_choices_change_no_answer(full, features_NQD, block):
    bare = [PromptRequest(image=request.image, prompt_ids=request.prompt_ids) for request in block]
    texts = [[answer.text for answer in Answerer(full, 7).answer(features_NQD, asked)] for asked in (block, bare)]
    assert texts[0] == texts[1]


def test_an_image_is_gone_over_once_for_all_its_questions_of_a_pass(full, features_NQD, processor, monkeypatch):
    decoder = full.model.language_model.get_decoder()
    tokens = []

    def counted(**inputs):
        tokens.append(inputs["inputs_embeds"].shape[:2].numel())
        return decoder(**inputs)

    monkeypatch.setattr(full.model.language_model, "get_decoder", lambda: counted)
    head, tail = "###Human: <Img><ImageHere>", "</Img> why ###Assistant: "
    ids = processor.encode_prompt(head + tail)
    block = [PromptRequest(image=number // 8, prompt_ids=ids) for number in range(16)]
    Answerer(full, 16, max_new_tokens=1).answer(features_NQD, block)
    before = len(processor.encode_prompt(head))
    assert tokens == [2 * before, 16 * (len(ids) - before)]


def test_another_end_mark_ends_an_answer(full, features_NQD, block, processor):
    request = next(r for r in block if not set(processor.end_ids) & set(generated(full, features_NQD, r)))
    ids = generated(full, features_NQD, request)
    mark = next(t for t in (processor.tokenizer.decode([i]) for i in ids) if len(processor.tokenizer(t).input_ids) == 1)
    place = ids.index(processor.tokenizer(mark).input_ids[0])
    other, own = Answerer(full, 4).answer(features_NQD, [replace(request, end_mark=mark), request])
    assert (other.tokens, other.cut, other.text) == (place, False, processor.decode_answer(ids[:place]))
    assert own.cut, "each request of a pass has its own"


def test_what_leaves_no_room_is_refused_before_anything_is_answered(full, features_NQD, block):
    long = PromptRequest(image=0, prompt_ids=[*block[0].prompt_ids, *[5] * full.positions])
    wide = PromptRequest(image=0, prompt_ids=block[0].prompt_ids, choices=[[5] * full.positions])
    for bad in (long, wide):
        with pytest.raises(DataError, match=f"more than the model's {full.positions}"):
            Answerer(full, 4).answer(features_NQD, [block[0], bad])


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_none_are_no_answer(make_model, processor, features_NQD, block, value):
    broken = strong_model(make_model(seed=4), processor, seed=4)
    with torch.no_grad():
        broken.model.language_model.lm_head.bias[7] = value
    with pytest.raises(NotFiniteError):
        Answerer(broken, 4).answer(features_NQD, block[:2])


def test_nothing_asked(full, features_NQD):
    assert Answerer(full, 4).answer(features_NQD[:0], []) == []
