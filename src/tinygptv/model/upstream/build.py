"""Published files → what the step ``backbones`` writes: image encoder, language model and tokenizer of our classes.

The norms that TinyGPT-V adds start at 1 and 0. Number formats are those in which the model is used
(``model/backbones.py``), so that nothing is converted again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.config import Config
from tinygptv.ground.errors import CheckpointError, DataError
from tinygptv.ground.file_names import IMAGE_ENCODER, LANGUAGE_MODEL, TOKENIZER
from tinygptv.ground.files import read_json
from tinygptv.model.upstream.pins import (
    IMAGE_ENCODER_TENSORS,
    INDEX,
    LANGUAGE_MODEL_TENSORS,
    PICKLED,
    PINS,
    is_weights,
    needed_shards,
)

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerFast

    from tinygptv.model.authors import Converted
    from tinygptv.model.authors.foreign import ForeignTensors
    from tinygptv.model.language.interface import Architecture

QUERIES = "query_tokens"
"""A tensor that a file with a Q-Former has, and one with a tower alone has not."""
Files = Mapping[str, Path]
"""The pinned files of a repository, as ``fetch.gather`` gives them."""


class ShardTensors(Mapping[str, "torch.Tensor"]):
    """The tensors of pinned shards whose names begin so, read when they are asked for.

    A folder's own index is not followed: files that are not pinned may lie beside it.
    """

    def __init__(self, shards: list[Path], prefixes: tuple[str, ...]) -> None:
        from tinygptv.model.authors import open_tensors

        self.path = shards[0].parent
        opened = [open_tensors(shard) for shard in shards]
        self._source = {name: shard for shard in opened for name in shard if name.startswith(prefixes)}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._source[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)


def build(config: Config, language_model: Files, image_encoder: Files, out: Path) -> None:
    """Write the three backbones.

    Raises:
        UserError: the files are those of another model than the configuration's.
    """
    from accelerate import init_empty_weights

    from tinygptv.model.authors import convert_image_encoder, convert_language_model
    from tinygptv.model.language import of_profile
    from tinygptv.model.profile import from_profile
    from tinygptv.model.vision import TinyGPTVImageEncoder

    architecture = of_profile(config.model.text)
    tokenizer = published_tokenizer(language_model[TOKENIZER], config.model.text.vocab_size, architecture)
    sizes = from_profile(config.model, tokenizer.eos_token_id, tokenizer.bos_token_id)
    with init_empty_weights(include_buffers=False):
        language, encoder = architecture.model(sizes.text_config), TinyGPTVImageEncoder(sizes)

    tensors = ShardTensors(shards(language_model, LANGUAGE_MODEL_TENSORS), LANGUAGE_MODEL_TENSORS)
    heads = config.model.text.num_attention_heads
    converted = convert_language_model(tensors, heads=heads, architecture=architecture)
    write(out / LANGUAGE_MODEL, language, converted, config.runtime.dtype, str(tensors.path))

    vision, qformer = image_side(image_encoder)
    converted = convert_image_encoder(vision, qformer)
    write(out / IMAGE_ENCODER, encoder, converted, config.runtime.dtype, str(qformer.path))
    tokenizer.save_pretrained(out)


def image_side(files: Files) -> tuple[ShardTensors | ForeignTensors, ShardTensors | ForeignTensors]:
    """The image tower's tensors, and the Q-Former's: of one repository, or of LAVIS' two pickled files.

    Raises:
        CheckpointError: of several files not one holds the Q-Former and one the tower.
    """
    from tinygptv.model.authors import open_tensors
    from tinygptv.model.authors.importer import account_for_extras

    pickled = [path for name, path in sorted(files.items()) if name.endswith(PICKLED)]
    if not pickled:
        tensors = ShardTensors(shards(files, IMAGE_ENCODER_TENSORS), IMAGE_ENCODER_TENSORS)
        return tensors, tensors
    opened = [open_tensors(path) for path in pickled]
    account_for_extras({tensors.path.name: tensors for tensors in opened})
    qformers = [tensors for tensors in opened if QUERIES in tensors]
    towers = [tensors for tensors in opened if QUERIES not in tensors]
    if (len(qformers), len(towers)) != (1, 1):
        raise CheckpointError(
            f"{', '.join(map(str, pickled))} are not one file of a tower and one of its Q-Former; see docs/backbones.md"
        )
    return towers[0], qformers[0]


def shards(files: Files, prefixes: tuple[str, ...]) -> list[Path]:
    """The pinned files of weights that hold tensors with these beginnings of names.

    Raises:
        DataError: the index names a file that is not pinned.
    """
    if INDEX not in files:
        return [path for name, path in sorted(files.items()) if is_weights(name)]
    named = needed_shards(read_json(files[INDEX]), prefixes, str(files[INDEX]))
    unpinned = [name for name in named if name not in files]
    if unpinned:
        raise DataError(f"{files[INDEX]} names {', '.join(unpinned)}, which {PINS} does not pin; restore it with git")
    return [files[name] for name in named]


def write(path: Path, module: nn.Module, converted: Converted, dtype: str, origin: str) -> None:
    """Write the tensors of a module without memory, in the formats in which it is used.

    Raises:
        CheckpointError: the tensors are not the module's.
    """
    import torch

    from tinygptv.model.backbones import check_fit, formats_of
    from tinygptv.model.streaming import write_tensors

    expected = module.state_dict()
    for name in set(converted.fresh) - expected.keys():  # an added norm that an ablation leaves out
        del converted.tensors[name]
    check_fit(expected, converted.tensors, origin, "give the section `model` its sizes")
    write_tensors(path, converted.tensors, formats_of(module, getattr(torch, dtype)))


def published_tokenizer(path: Path, vocab_size: int, architecture: Architecture) -> PreTrainedTokenizerFast:
    """The language model's tokenizer, of its bare file: no token is added, and what ends a text also pads.

    Raises:
        CheckpointError: it has no end of text, or more tokens than the model has embeddings.
    """
    from transformers import PreTrainedTokenizerFast

    from tinygptv.model.processing import check_vocabulary

    read_json(path)  # tokenizers would end in a traceback
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
    begin, end = architecture.begin_of_text, architecture.end_of_text
    for kind, token in (("bos_token", begin), ("eos_token", end), ("pad_token", end)):
        if token not in tokenizer.get_vocab():
            raise CheckpointError(f"{path} has no token {token}; it is not {architecture.family}'s")
        setattr(tokenizer, kind, token)
    check_vocabulary(tokenizer, vocab_size)
    return tokenizer
