"""A group of rows of benchmarks/gpu_generate.py, in a process of its own: a line of JSON for each, as it is measured.

    python benchmarks/gpu_generate_worker.py '{"profile": "paper", "group": "half", "device": "cuda", "seconds": 100}'

Shapes: B rows, T tokens.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_common import ROOT, read_profile  # puts the project on the path
from gpu_worker import environment

from tinygptv.ground import runtime
from tinygptv.model import int8
from tinygptv.model.decoding.decoder import Decoder
from tinygptv.model.frozen8bit import FrozenLinear8bit, take_over
from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
from tinygptv.model.profile import from_profile
from tinygptv.model.vision import compile_blocks, encode_filled

PROMPT, ANSWER = 72, 64
"""Tokens."""
SEED = 1
Row = dict[str, Any]
Measurement = tuple[str, int, Callable[[], Row]]
"""What, rows at once, and what measures it."""


def build(config: Any, device: torch.device, dtype: torch.dtype) -> TinyGPTVForConditionalGeneration:
    """A whole model with random weights, in the formats in which a saved folder opens."""
    torch.manual_seed(SEED)
    torch.set_default_dtype(dtype)
    with device:
        model = TinyGPTVForConditionalGeneration(from_profile(config.model, end_of_text_id=0))
    torch.set_default_dtype(torch.float32)
    model.image_encoder.qformer.float()
    model.image_encoder.query_tokens.data = model.image_encoder.query_tokens.data.float()
    return model.requires_grad_(False).eval()


def prompts(model: TinyGPTVForConditionalGeneration, rows: int) -> torch.Tensor:
    """Token ids [B, T]; none of them pads."""
    vocabulary = model.config.get_text_config().vocab_size
    return torch.randint(1, vocabulary, (rows, PROMPT), generator=torch.Generator().manual_seed(SEED)).to(model.device)


def by_loop(model: TinyGPTVForConditionalGeneration, decoder: Decoder, ids_BT: torch.Tensor, limit: int) -> list[Any]:
    """Tokens of the project's loop, of each row."""
    seen = decoder.read(list(model.get_input_embeddings()(ids_BT)))
    return [said.ids for said in decoder.generate(seen, [()] * len(ids_BT), limit)]


def by_generate(model: TinyGPTVForConditionalGeneration, ids_BT: torch.Tensor, limit: int) -> list[Any]:
    """Tokens of transformers' loop, of each row."""
    output_BT = model.language_model.generate(
        input_ids=ids_BT,
        attention_mask=torch.ones_like(ids_BT),
        do_sample=False,
        max_new_tokens=limit,
        eos_token_id=None,
        pad_token_id=0,
    )
    tokens: list[Any] = output_BT[:, ids_BT.shape[1] :].tolist()
    return tokens


def waited(work: Callable[[], object]) -> float:
    """Seconds of some work, until the device has done it."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def median(work: Callable[[], object]) -> float:
    """Median of its seconds; on a CPU it is a trial."""
    return statistics.median(waited(work) for _ in range(5 if torch.cuda.is_available() else 1))


def speed(rows: int, answer: Callable[[int], object]) -> Row:
    """Tokens a second of answers of ``ANSWER`` tokens; ``answer`` is given their count."""
    first = waited(lambda: answer(ANSWER))  # compiles and captures
    one, whole = (median(lambda limit=limit: answer(limit)) for limit in (1, ANSWER))
    return {
        "tokens_per_s": rows * (ANSWER - 1) / (whole - one),
        "whole_tokens_per_s": rows * ANSWER / whole,
        "prompt_s": one,
        "first_s": first,
    }


def half(config: Any, device: torch.device) -> Iterator[Measurement]:
    """bfloat16."""
    model = build(config, device, torch.bfloat16)
    for compiled, what in ((None, "loop"), (False, "loop, blocks not compiled")):
        decoder = Decoder(model, compiled=compiled)
        for rows in (1, 16):
            ids_BT = prompts(model, rows)
            yield what, rows, lambda d=decoder, i=ids_BT: speed(len(i), lambda limit: by_loop(model, d, i, limit))
        if compiled is None:
            for rows in (1, 16):
                ids_BT = prompts(model, rows)
                yield "generate", rows, lambda i=ids_BT: speed(len(i), lambda limit: by_generate(model, i, limit))


def eight(config: Any, device: torch.device) -> Iterator[Measurement]:
    """8 bits."""
    model = build(config, device, torch.bfloat16)
    int8.quantize_base(model.language_model, outlier_threshold=0.0)
    runtime.free_memory()
    matrices = [part for part in model.modules() if isinstance(part, FrozenLinear8bit)]
    for what, rows, threshold, weight_only in (
        ("weight-only", 1, 0.0, True),
        ("LLM.int8(), threshold 0", 1, 0.0, False),
        ("LLM.int8(), threshold 6", 1, 6.0, False),
        ("weight-only", 16, 0.0, True),
    ):
        for matrix in matrices:
            matrix.threshold, matrix.weight_only = threshold, weight_only
        decoder, ids_BT = Decoder(model), prompts(model, rows)
        yield what, rows, lambda d=decoder, i=ids_BT: speed(len(i), lambda limit: by_loop(model, d, i, limit))


def equal(config: Any, device: torch.device) -> Iterator[Measurement]:
    """Whether tokens are the same ones."""
    model = build(config, device, torch.float32)
    ids_BT = prompts(model, 8)
    expected: list[Any] = []

    def compare(decoder: Decoder) -> Row:
        if not expected:
            expected.extend(by_generate(model, ids_BT, ANSWER))
        return {"equal": agreement(by_loop(model, decoder, ids_BT, ANSWER), expected)}

    yield "loop, compiled, beside generate", 8, lambda: compare(Decoder(model))
    yield "loop, not compiled, beside generate", 8, lambda: compare(Decoder(model, compiled=False))
    yield "loop, nothing captured, beside generate", 8, lambda: compare(Decoder(model, graphs=False, compiled=False))
    small = build(read_profile(ROOT / "configs" / "smoke.yaml", {}), torch.device("cpu"), torch.float32)
    for threshold in (0.0, 6.0):
        with tempfile.TemporaryDirectory() as folder:
            opened = reloaded(small, Path(folder), threshold, device)
        here = opened.pop("cpu, LLM.int8()")
        for what, there in opened.items():
            yield (
                f"package of the CPU, threshold {threshold:g}: {what}",
                8,
                lambda a=there, b=here: {"equal": agreement(tokens_of(a), tokens_of(b))},
            )


def reloaded(
    source: TinyGPTVForConditionalGeneration, folder: Path, threshold: float, device: torch.device
) -> dict[str, TinyGPTVForConditionalGeneration]:
    """A model in 8 bits, quantized and written on the CPU, as both devices open it."""
    from transformers import BitsAndBytesConfig

    source.save_pretrained(folder / "whole")
    settings = BitsAndBytesConfig(
        load_in_8bit=True,
        llm_int8_threshold=threshold,
        llm_int8_skip_modules=int8.skipped(source.config.text_config),
    )
    TinyGPTVForConditionalGeneration.from_pretrained(
        folder / "whole", dtype="auto", quantization_config=settings, device_map={"": "cpu"}
    ).save_pretrained(folder / "small")
    found = {}
    for what, home, weight_only in (
        ("cpu, LLM.int8()", torch.device("cpu"), False),
        ("LLM.int8()", device, False),
        ("weight-only", device, True),
    ):
        model = TinyGPTVForConditionalGeneration.from_pretrained(folder / "small", device_map={"": home})
        take_over(model, weight_only=weight_only)
        found[what] = model.eval()
    return found


def tokens_of(model: TinyGPTVForConditionalGeneration) -> list[Any]:
    """Short answers of a small model."""
    return by_loop(model, Decoder(model), prompts(model, 8), 8)


def agreement(found: list[Any], expected: list[Any]) -> float:
    """Share of tokens that are equal, up to the first of each row that is not."""
    same = 0
    for ours, theirs in zip(found, expected, strict=True):
        same += next((at for at, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]), len(ours))
    return same / sum(map(len, expected))


def tower(config: Any, device: torch.device) -> Iterator[Measurement]:
    """The image encoder."""
    encoder = build(config, device, torch.bfloat16).image_encoder
    side = config.stage4.image_size

    def image(rows: int) -> Row:
        pixels_NCHW = torch.randn(rows, 3, side, side, device=device)
        first = waited(lambda: encode_filled(encoder, pixels_NCHW, rows))
        return {"image_ms": 1000 * median(lambda: encode_filled(encoder, pixels_NCHW, rows)) / rows, "first_s": first}

    for rows in (16, 1):
        yield f"tower, {side} px", rows, lambda r=rows: image(r)
    if device.type == "cuda":
        compile_blocks(encoder)
        for rows in (16, 1):
            yield f"tower, {side} px, blocks compiled", rows, lambda r=rows: image(r)


def main() -> None:
    """Measure the group of the command line."""
    runtime.quiet_libraries()
    case = json.loads(sys.argv[1])
    began, device = time.monotonic(), torch.device(case["device"])
    config = read_profile(ROOT / "configs" / f"{case['profile']}.yaml", {})
    print(json.dumps({"environment": environment(case["device"])}), flush=True)
    groups = {"half": half, "eight": eight, "equal": equal, "tower": tower}
    with torch.no_grad():
        for what, rows, measure in groups[case["group"]](config, device):
            row: Row = {"what": what, "rows": rows, "status": "measured"}
            if time.monotonic() - began > case["seconds"]:
                row["status"] = "not measured: the time was over"
            else:
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                try:
                    row |= measure()
                except Exception as error:  # told in its row; the others go on
                    traceback.print_exc()
                    row["status"] = f"failed: {type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
                if device.type == "cuda":
                    row["peak_bytes"] = torch.cuda.max_memory_allocated()
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
