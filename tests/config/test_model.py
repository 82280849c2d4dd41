"""The language model of a profile: what its architecture allows, and what older manifests mean."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tinygptv.config import Config, Model, Text

LLAMA: dict[str, Any] = {
    "architecture": "llama",
    "num_key_value_heads": 1,
    "partial_rotary_factor": 1.0,
    "resid_pdrop": 0.0,
}


def text_of(smoke: Config, **changes: Any) -> Text:
    return Text.model_validate(smoke.model.text.model_dump() | changes)


def test_keys_that_are_not_there_mean_what_they_did(smoke: Config) -> None:
    dumped = smoke.model.model_dump(mode="json")["text"]
    assert not dumped.keys() & {"architecture", "num_key_value_heads"}, "manifests stay the same bytes"
    assert text_of(smoke, architecture="phi", num_key_value_heads=None) == smoke.model.text


def test_keys_of_llama_are_written_and_read(smoke: Config) -> None:
    text = text_of(smoke, **LLAMA)
    assert LLAMA.items() <= text.model_dump(mode="json").items()
    assert Text.model_validate(text.model_dump()) == text


def test_adapters_on_the_mlp_are_llama_s(smoke: Config) -> None:
    content = smoke.model.model_dump()
    assert "mlp" not in content["lora"]
    content["lora"]["mlp"] = True
    with pytest.raises(ValidationError, match=r"lora\.mlp: phi's adapters are on its attention"):
        Model.model_validate(content)
    content["text"] |= LLAMA
    assert Model.model_validate(content).model_dump()["lora"]["mlp"] is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads": 1}, "phi has one for every head"),
        ({**LLAMA, "num_key_value_heads": 3}, "3 do not divide the 2 heads"),
        ({**LLAMA, "partial_rotary_factor": 0.5}, "all channels of llama rotate; set it to 1.0"),
        ({**LLAMA, "resid_pdrop": 0.1}, "no dropout there; set it to 0.0"),
        ({"architecture": "opt"}, "'phi' or 'llama'"),
    ],
)
def test_what_an_architecture_has_not_is_refused(smoke: Config, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        text_of(smoke, **changes)
