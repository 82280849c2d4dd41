"""The model gives lmms-eval the answers and likelihoods that it gives the project."""

import pytest
import torch
from datasets import load_dataset
from PIL import Image

from tinygptv.ground.errors import DataError, UserError
from tinygptv_lmms.adapter import Chat
from tinygptv_lmms.asking import Asker
from tinygptv_lmms.reading import AS_IT_IS, Settings, from_text

AS_THE_MODEL = Settings(max_new_tokens=None, until=(), template=AS_IT_IS)


@pytest.fixture(scope="module")
def rows(tasks, tmp_path_factory):
    file = str(tasks / "tiny_easy_vqa.parquet")
    cache = str(tmp_path_factory.mktemp("cache"))
    return list(load_dataset("parquet", data_files={"test": file}, split="test", cache_dir=cache))


@pytest.fixture(scope="module")
def asked(rows):
    return [from_text(row["instruction"], [row["image"]], row["id"], AS_IT_IS) for row in rows]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_answers_are_those_of_quantize_whatever_the_batch(batch_size, model, rows, asked, answers):
    said = Asker(model, batch_size).answers(asked, [AS_THE_MODEL] * len(asked))
    assert said == [answers[row["id"]] for row in rows]


def test_losses_are_those_of_the_whole_answer_with_its_end_mark(model, asked):
    """Against one forward pass of transformers for each, without cache, padding or neighbours."""
    pairs = [(question, text) for question in asked[:6] for text in ("yes", "no", "rectangle")]
    found = Asker(model, 4).losses(*zip(*pairs, strict=True))
    for (question, text), (loss, greedy) in zip(pairs, found, strict=True):
        prompt = model.processor.encode_prompt(model.processor.prompt_of(question.instruction))
        answer = [*model.processor.tokenizer(text, add_special_tokens=False)["input_ids"], model.processor.end_mark_id]
        features = model.encode_images([model.picture(question.image)], 64, filled=True)
        with torch.inference_mode():
            logits_BTV = model.model(input_ids=torch.tensor([prompt + answer]), image_features=features).logits
        logprobs_TV = logits_BTV[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = -logprobs_TV.gather(1, torch.tensor(answer)[:, None]).sum().item()
        assert loss == pytest.approx(expected, abs=1e-3)
        assert greedy == (model.answer([question.image], [question.instruction]) == [text])
    assert any(greedy for _, greedy in found)


def test_likelihoods_do_not_depend_on_what_is_asked_beside_them(model, asked):
    pairs = [(question, text) for question in asked for text in ("yes", "no")]
    together = Asker(model, 32).losses(*zip(*pairs, strict=True))
    alone = [Asker(model, 1).losses([question], [text])[0] for question, text in pairs[:20]]
    assert [greedy for _, greedy in alone] == [greedy for _, greedy in together[:20]]
    assert [loss for loss, _ in alone] == pytest.approx([loss for loss, _ in together[:20]], abs=1e-4)


def test_a_task_may_allow_more_tokens_than_the_model_has_positions(model, asked):
    long = Settings(max_new_tokens=49_152, until=(), template=AS_IT_IS)
    asker = Asker(model, 8)
    assert asker.answers(asked[:8], [long] * 8) == asker.answers(asked[:8], [AS_THE_MODEL] * 8)


def test_a_damaged_image_is_named(model):
    asked = from_text("[vqa] and?", [Image.new("F", (8, 8))], "toy, document 7", AS_IT_IS)
    with pytest.raises(DataError, match="toy, document 7"):
        Asker(model, 1).answers([asked], [AS_THE_MODEL])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"pretrained": "no/such"}, "no/such is no folder"), ({"batch_size": "auto"}, "--batch_size auto")],
)
def test_wrong_arguments_are_one_line(arguments, told, package):
    with pytest.raises(UserError, match=told):
        Chat(**{"pretrained": str(package), "device": "cpu"} | arguments)
