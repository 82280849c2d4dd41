"""Answers: independent of batches, equal from memory and from disk, in full precision and in 8 bits."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, GenerationConfig, pipeline

from tests.serving.helpers import TOKENS, strong_model
from tinygptv.ground.errors import CheckpointError, DataError, UserError
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.int8 import save_quantized, skipped
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.package import NEEDED
from tinygptv.model.processing import TinyGPTVProcessor

MakeModel = Callable[..., TinyGPTVForConditionalGeneration]
QUESTIONS = ("what colour is the circle?", "is there a red shape?", "[refer] circle", "[caption] A photo of", "why")


def pictures(count: int) -> list[Image.Image]:
    """Images of four large squares in strong colours."""
    rng = np.random.default_rng(1)
    small = [Image.fromarray(rng.choice([0, 255], (2, 2, 3)).astype(np.uint8)) for _ in range(count)]
    return [image.resize((24, 24), Image.Resampling.NEAREST) for image in small]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def ready(make_model: MakeModel, processor: TinyGPTVProcessor) -> VisionLanguageModel:
    """Random weights, large enough that answers differ. Read only."""
    return strong_model(make_model(seed=11), processor, seed=4)


@pytest.fixture(scope="module")
def asked() -> tuple[list[Image.Image], list[str]]:
    """64 questions about 16 images."""
    images = pictures(16)
    return [images[i % 16] for i in range(64)], [QUESTIONS[i % len(QUESTIONS)] for i in range(64)]


@pytest.fixture(scope="module")
def answers(ready: VisionLanguageModel, asked: tuple[list[Image.Image], list[str]]) -> list[str]:
    return ready.answer(*asked, batch_size=64)


@pytest.fixture(scope="module")
def package(ready: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 8-bit package. Read only."""
    folder = tmp_path_factory.mktemp("quantize") / "model"
    size = save_quantized(ready, folder, outlier_threshold=0.0, max_new_tokens=TOKENS)
    assert size > (folder / "model.safetensors").stat().st_size
    return folder


@pytest.fixture(scope="module")
def reloaded(package: Path) -> VisionLanguageModel:
    return VisionLanguageModel.from_folder(package)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_answers_do_not_depend_on_the_batch(
    ready: VisionLanguageModel, asked: tuple[list[Image.Image], list[str]], answers: list[str], batch_size: int
) -> None:
    assert len(set(answers)) > 4, "the answers must differ for this test to mean something"
    assert ready.answer(*asked, batch_size=batch_size) == answers


def test_generation_does_not_depend_on_the_batch(ready: VisionLanguageModel) -> None:
    features_BQD = 3 * torch.randn(64, 4, 32, generator=torch.Generator().manual_seed(0))
    prompts = [f"###Human: <ImageHere> {QUESTIONS[i % len(QUESTIONS)]} ###Assistant: " for i in range(64)]
    by_size = [ready.generate(features_BQD, prompts, batch_size=size) for size in (64, 7, 1)]
    assert len({answer.text for answer in by_size[0]}) > 20, "the answers must differ for this test to mean something"
    assert by_size[0] == by_size[1] == by_size[2]


def test_answers_come_in_the_order_of_the_questions(
    ready: VisionLanguageModel, asked: tuple[list[Image.Image], list[str]], answers: list[str]
) -> None:
    images, questions = asked
    assert ready.answer(images[::-1], questions[::-1]) == answers[::-1]


def test_an_image_may_be_a_path_or_bytes(
    ready: VisionLanguageModel, tmp_path: Path, asked: tuple[list[Image.Image], list[str]], answers: list[str]
) -> None:
    content = png(asked[0][0])
    (tmp_path / "a.png").write_bytes(content)
    for source in (content, tmp_path / "a.png", str(tmp_path / "a.png")):
        assert ready.answer([source], [asked[1][0]]) == answers[:1]


def test_bad_input_is_refused(ready: VisionLanguageModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.png"):
        ready.answer([tmp_path / "no.png"], ["what?"])
    with pytest.raises(DataError):
        ready.answer([b"no image"], ["what?"])
    with pytest.raises(UserError, match="1 images and 2 questions"):
        ready.answer(pictures(1), ["a", "b"])
    assert ready.answer([], []) == []
    for question, words in ((None, "missing"), ("", "empty"), (" \n", "empty"), (5, "must be text, not int")):
        with pytest.raises(DataError, match=f"the question .*{words}"):
            ready.answer(pictures(1), [question])


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "NoneType is no picture"),
        (5, "int is no picture"),
        (np.zeros((4, 4, 2), np.uint8), "no picture"),
        ("a\0b", "null"),
        ("iVBOR" * 2000, "File name too long"),
        (Image.new("RGB", (0, 4)), "0x4 pixels"),
    ],
    ids=["None", "number", "two channels", "no path", "base 64", "no pixels"],
)
def test_what_is_no_image_is_refused_in_one_line(ready: VisionLanguageModel, image: object, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        ready.answer([image], ["what?"])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1200


def test_a_question_leaves_room_for_its_answer(ready: VisionLanguageModel) -> None:
    def question(words: int) -> str:
        return "[vqa]" + " a" * words

    def tokens(words: int) -> int:
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question(words)}]}
        prompt = ready.processor.apply_chat_template([message], add_generation_prompt=True)
        return int(ready.processor(text=[prompt])["input_ids"].shape[1])

    words = next(count for count in range(1, 10_000) if tokens(count) + TOKENS > ready.positions)
    assert len(ready.answer(pictures(2), ["what?", question(words - 1)])) == 2
    with pytest.raises(UserError, match=rf"more than the model's {ready.positions}; ask in fewer words"):
        ready.answer(pictures(2), ["what?", question(words)])


def test_an_answer_stops_at_the_end_mark(make_model: MakeModel, processor: TinyGPTVProcessor) -> None:
    model = make_model()
    model.generation_config = GenerationConfig(max_new_tokens=TOKENS)
    with torch.no_grad():
        model.language_model.lm_head.bias[processor.end_mark_id] = 1e4
    lengths: list[int] = []
    model.language_model.model.layers[0].register_forward_hook(lambda *_: lengths.append(1))
    assert VisionLanguageModel(model, processor).answer(pictures(2), ["a", "b"]) == ["", ""]
    assert len(lengths) == 1, "generation must stop at the first end mark"


def test_a_saved_model_is_the_same_through_the_auto_classes(ready: VisionLanguageModel, tmp_path: Path) -> None:
    ready.model.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(loaded) is TinyGPTVForConditionalGeneration
    assert loaded.image_encoder.vision_model.post_layernorm.eps == 1e-5
    state = ready.model.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())


def test_the_pipeline_of_transformers_answers_the_same(ready: VisionLanguageModel, tmp_path: Path) -> None:
    ready.model.save_pretrained(tmp_path)
    ready.processor.save_pretrained(tmp_path)
    image = pictures(1)[0]
    question = "[vqa] what colour is the circle?"
    message = {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": question}]}
    answer = pipeline("image-text-to-text", model=str(tmp_path), device="cpu")(text=[message], return_full_text=False)
    assert answer[0]["generated_text"].strip() == ready.answer([image], [question])[0]


def test_the_package_reloads_bit_for_bit(package: Path, reloaded: VisionLanguageModel) -> None:
    from safetensors.torch import load_file

    stored, state = load_file(package / "model.safetensors"), reloaded.model.state_dict()
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], state[name]) for name in stored)


def test_the_package_holds_the_blocks_in_8_bits_and_nothing_else(package: Path, ready: VisionLanguageModel) -> None:
    from safetensors.torch import load_file

    stored = load_file(package / "model.safetensors")
    in_8_bits = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    layer = "language_model.model.layers.0"
    assert in_8_bits == {
        f"{layer}.{m}.weight" for m in ("self_attn.query_key_value", "self_attn.dense", "mlp.fc1", "mlp.fc2")
    }
    state = ready.model.state_dict()
    kept = {name for name in stored if stored[name].dtype == torch.float32 and not name.endswith(".SCB")}
    assert kept == state.keys() - in_8_bits
    assert all(torch.equal(stored[name], state[name]) for name in kept)


def test_8_bit_weights_are_near_the_full_ones(package: Path, ready: VisionLanguageModel) -> None:
    from safetensors.torch import load_file

    stored, name = load_file(package / "model.safetensors"), "language_model.model.layers.0.mlp.fc1"
    restored = stored[f"{name}.weight"].float() * stored[f"{name}.SCB"][:, None] / 127
    whole = ready.model.state_dict()[f"{name}.weight"]
    assert (restored - whole).abs().max() <= whole.abs().max() / 127


def test_8_bit_answers_do_not_depend_on_the_batch_or_the_reloading(
    ready: VisionLanguageModel,
    reloaded: VisionLanguageModel,
    asked: tuple[list[Image.Image], list[str]],
    tmp_path: Path,
) -> None:
    images, questions = asked[0][:7], asked[1][:7]
    single = reloaded.answer(images, questions, batch_size=1)
    assert len(set(single)) > 1
    assert reloaded.answer(images, questions, batch_size=7) == single
    ready.model.save_pretrained(tmp_path)
    settings = BitsAndBytesConfig(
        load_in_8bit=True, llm_int8_threshold=0.0, llm_int8_skip_modules=skipped(ready.model.config.text_config)
    )
    in_memory = TinyGPTVForConditionalGeneration.from_pretrained(
        tmp_path, quantization_config=settings, device_map={"": "cpu"}
    )
    assert VisionLanguageModel(in_memory, ready.processor).answer(images, questions) == single


@pytest.mark.parametrize("name", NEEDED)
def test_an_incomplete_folder_is_refused(package: Path, tmp_path: Path, name: str) -> None:
    for path in package.iterdir():
        if path.name != name:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        VisionLanguageModel.from_folder(tmp_path)


def test_damaged_weights_are_refused(package: Path, tmp_path: Path) -> None:
    for path in package.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 2000 if path.suffix == ".safetensors" else None])
    with pytest.raises(DataError, match=r"model\.safetensors was changed"):
        VisionLanguageModel.from_folder(tmp_path)
