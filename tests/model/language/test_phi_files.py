"""Older files of Phi, by the names that the rules know."""

from __future__ import annotations

from tinygptv.model.language.phi_files import unroll_sequential


def test_microsofts_first_files_count_from_the_embedding_to_the_head() -> None:
    theirs = ["layers.0.wte.weight", "layers.1.ln.bias", "layers.2.mixer.Wqkv.weight", "layers.3.ln.weight"]
    plain = unroll_sequential([*theirs, "layers.3.linear.weight", "layers.3.linear.bias"])
    assert list(plain.values()) == [
        "transformer.embd.wte.weight",
        "transformer.h.0.ln.bias",
        "transformer.h.1.mixer.Wqkv.weight",
        "lm_head.ln.weight",
        "lm_head.linear.weight",
        "lm_head.linear.bias",
    ]
    assert unroll_sequential(["transformer.h.0.ln.bias"]) == {"transformer.h.0.ln.bias": "transformer.h.0.ln.bias"}
