"""A small tokenizer of Llama's kind: SentencePiece's marks for spaces, bytes for what has no token, BOS unlike EOS."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

SPACE = "\u2581"
TEXTS = ("###Human: <Img></Img> what is it? ###Assistant: a red circle ###", "yes no a blue triangle {<10><20>}") * 8


def llama_model(size: int = 400) -> Tokenizer:
    """The bare tokenizer, of ``size`` tokens."""
    normal = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    trained = Tokenizer(models.BPE())
    trained.normalizer = normal
    trained.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=size - 259, show_progress=False))
    learned = json.loads(trained.to_str())["model"]
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    words += [f"spare{n}" for n in range(size - len(words))]
    merges = [tuple(merge) for merge in learned["merges"]]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normal
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


def write_llama_tokenizer(path: Path, size: int = 400) -> Path:
    """``tokenizer.json`` as the hub has it."""
    llama_model(size).save(str(path))
    return path


def llama_tokenizer(size: int = 400) -> PreTrainedTokenizerFast:
    """As the project reads it: what ends a text also pads."""
    return PreTrainedTokenizerFast(
        tokenizer_object=llama_model(size), bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
