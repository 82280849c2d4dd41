"""The model at the paper's size on a CPU: bfloat16 beside LLM.int8(), in memory and in seconds per token.

    python benchmarks/cpu_full_size.py            # 25 GB of disk, 12 GB of memory, a quarter of an hour on two cores

Random weights of the real sizes are written as a Hugging Face folder, quantized while loading, and saved; then fresh
processes open the two folders in turn (A B A B) and answer. Every process reports its own peak of resident memory,
which counts the pages of the mapped weight files too. Results: benchmarks/results/cpu_full_size.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tinygptv.ground.arguments import Parser

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cpu_full_size.json"
QUESTION = "what is in the image?"
MIB = 1024**2


def build(profile: str, folder: Path) -> dict[str, Any]:
    """Write a random model of a profile's sizes with a small tokenizer."""
    import torch
    from accelerate import init_empty_weights

    from tinygptv.config.profiles import read_config
    from tinygptv.ground.runtime import quiet_libraries
    from tinygptv.model import TinyGPTVForConditionalGeneration
    from tinygptv.model.language import of_profile
    from tinygptv.model.processing import build_processor
    from tinygptv.model.profile import from_profile
    from tinygptv.pretraining.documents import train_tokenizer

    quiet_libraries()
    config = read_config(ROOT / "configs" / f"{profile}.yaml")
    stage, vocabulary = config.stage4, config.model.text.vocab_size
    end = of_profile(config.model.text).end_of_text
    tokenizer = train_tokenizer([f"{QUESTION} nothing {stage.prompt.end_mark}"] * 8, stage.prompt, vocabulary, end)
    processor = build_processor(
        tokenizer,
        stage.prompt,
        image_size=stage.image_size,
        num_query_tokens=config.model.qformer.num_query_tokens,
        vocab_size=vocabulary,
    )
    processor.save_pretrained(folder)
    torch.manual_seed(0)
    with init_empty_weights(include_buffers=False):
        model = TinyGPTVForConditionalGeneration(from_profile(config.model, tokenizer.eos_token_id))
    for name, empty in list(model.named_parameters()):
        is_float32 = name.startswith(("image_encoder.qformer", "image_encoder.query_tokens"))
        value = torch.empty(empty.shape, dtype=torch.float32 if is_float32 else torch.bfloat16)
        if "norm" in name:
            value.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            value.normal_(std=0.02)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, torch.nn.Parameter(value, requires_grad=False))
    model.save_pretrained(folder)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def quantize(profile: str, source: Path, folder: Path) -> dict[str, Any]:
    """Quantize a folder while loading it."""
    from tinygptv.config.profiles import read_config
    from tinygptv.model.int8 import quantize_folder

    config = read_config(ROOT / "configs" / f"{profile}.yaml")
    quantize_folder(
        source,
        folder,
        outlier_threshold=config.quantize.outlier_threshold,
        max_new_tokens=config.evaluate.max_new_tokens,
    )
    return {}


def ask(folder: Path, tokens: int) -> dict[str, Any]:
    """Open a folder, encode an image, answer, and time ``tokens`` steps of greedy decoding."""
    import torch
    from PIL import Image

    from tinygptv.model.inference import VisionLanguageModel

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    started = time.perf_counter()
    model = VisionLanguageModel.from_folder(folder)
    figures: dict[str, Any] = {"load_s": time.perf_counter() - started}
    side = model.processor.image_processor.size["height"]
    image = Image.effect_noise((side, side), 80).convert("RGB")
    started = time.perf_counter()
    features_NQD = model.encode_images([image])
    figures["encode_s"] = time.perf_counter() - started
    figures["answer"] = model.answer([image], [QUESTION])[0]
    inputs = model.processor(text=[model.processor.apply_chat_template(chat(), add_generation_prompt=True)])

    def generate(count: int) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            model.model.generate(
                **inputs, image_features=features_NQD, do_sample=False, min_new_tokens=count, max_new_tokens=count
            )
        return time.perf_counter() - started

    generate(2)  # the first pass touches the pages of every weight
    first, all_of_them = generate(1), generate(tokens + 1)
    figures |= {"prefill_s": first, "s_per_token": (all_of_them - first) / tokens}
    return figures | {"prompt_tokens": inputs["input_ids"].shape[1]}


def chat() -> list[dict[str, Any]]:
    """One question about one image."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]


def in_process(*arguments: object) -> dict[str, Any]:
    """Run one part in a fresh process; its figures with seconds and peak memory."""
    started = time.perf_counter()
    command = [sys.executable, __file__, *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1]) | {"wall_s": time.perf_counter() - started}


def measure(profile: str, scratch: Path, rounds: int, tokens: int) -> dict[str, Any]:
    """Build, quantize, and ask both forms in turn."""
    from tinygptv.ground import runtime

    folders = {"bfloat16": scratch / "bfloat16", "int8": scratch / "int8"}
    result: dict[str, Any] = {"profile": profile, "environment": runtime.environment()}
    result["build"] = in_process("build", profile, folders["bfloat16"])
    print(f"built: {result['build']['parameters']:,} parameters, {result['build']['wall_s']:.0f} s", flush=True)
    result["quantize"] = in_process("quantize", profile, folders["bfloat16"], folders["int8"])
    print(f"quantized while loading: {result['quantize']['wall_s']:.0f} s", flush=True)
    runs: dict[str, list[dict[str, Any]]] = {form: [] for form in folders}
    for _ in range(rounds):
        for form, folder in folders.items():
            runs[form].append(in_process("ask", folder, tokens))
            print(f"{form}: {runs[form][-1]}", flush=True)
    for form, found in runs.items():
        keys = ("load_s", "encode_s", "prefill_s", "s_per_token", "peak_rss_gib")
        result[form] = {key: round(statistics.median(run[key] for run in found), 4) for key in keys}
        result[form]["weights_gib"] = round((folders[form] / "model.safetensors").stat().st_size / 1024**3, 6)
        result[form]["runs"] = found
    return result


def table(result: dict[str, Any]) -> str:
    """The two forms side by side."""
    rows = {
        "weights_gib": "weights on disk, GiB",
        "peak_rss_gib": "peak resident memory, GiB",
        "load_s": "open, s",
        "encode_s": "encode an image, s",
        "prefill_s": "read the prompt, s",
        "s_per_token": "each token, s",
    }
    lines = [f"{'median':<28}{'bfloat16':>10}{'int8':>10}{'ratio':>8}"]
    for key, name in rows.items():
        whole, small = result["bfloat16"][key], result["int8"][key]
        lines.append(f"{name:<28}{whole:>10.3f}{small:>10.3f}{small / whole:>8.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure, or be one of the processes."""
    if len(sys.argv) > 1 and sys.argv[1] in ("build", "quantize", "ask"):
        part, *arguments = sys.argv[1:]
        started = time.perf_counter()
        if part == "build":
            figures = build(arguments[0], Path(arguments[1]))
        elif part == "quantize":
            figures = quantize(arguments[0], Path(arguments[1]), Path(arguments[2]))
        else:
            figures = ask(Path(arguments[0]), int(arguments[1]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
        print(json.dumps(figures | {"seconds": time.perf_counter() - started, "peak_rss_gib": peak}))
        return
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper", help="whose sizes (smoke for a trial)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each form is opened and asked")
    parser.add_argument("--tokens", type=int, default=24, help="tokens of the timed decoding")
    parser.add_argument("--scratch", type=Path, help="where the folders go (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        result = measure(arguments.profile, Path(scratch), arguments.rounds, arguments.tokens)
    print(table(result))
    if arguments.profile == "paper":
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        print(f"written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
