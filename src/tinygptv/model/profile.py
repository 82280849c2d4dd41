"""The ``model`` section of a profile as the configuration of the whole model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygptv.model.configuration import TinyGPTVConfig, image_parts
from tinygptv.model.language import of_profile

if TYPE_CHECKING:
    from tinygptv.config import Model


def from_profile(model: Model, end_of_text_id: int, begin_of_text_id: int | None = None) -> TinyGPTVConfig:
    """The section as a transformers configuration.

    Args:
        model: the section.
        end_of_text_id: the tokenizer's end of text, which serves as EOS and padding.
        begin_of_text_id: its BOS; None: the end of text is that too.
    """
    architecture = of_profile(model.text)
    text_config = architecture.config(
        **architecture.sizes(model),
        bos_token_id=end_of_text_id if begin_of_text_id is None else begin_of_text_id,
        eos_token_id=end_of_text_id,
        pad_token_id=end_of_text_id,
    )
    return TinyGPTVConfig(**image_parts(model), text_config=text_config)
