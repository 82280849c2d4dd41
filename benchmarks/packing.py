"""Samples in one row beside samples with padding: the loss of real batches either way, and the time of a step.

    python benchmarks/packing.py                    # the profile in params.yaml, after `dvc repro`
    python benchmarks/packing.py --batches 100 --rounds 3

The batches are those of stages 2 to 4 from their beginning, each with the weights that its stage begins with. Their
losses are computed both ways, and the lengths of the last stage's samples are counted. Then steps of stage 4 are made
in rounds that take turns; the ratio is the median over the turns of a packed round's time by that of the padded round
beside it, so that a machine which becomes slower or faster meanwhile falls out.
Results: benchmarks/results/packing.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "packing.json"
STAGES = ("stage2", "stage3", "stage4")
STEPS_OF_A_ROUND = 10


def main() -> int:
    """Compare, measure, print, write the results."""
    options = parse_arguments()
    from tinygptv.config.profiles import read_profile
    from tinygptv.ground import runtime
    from tinygptv.ground.files import write_json
    from tinygptv.ground.tables import plain_table

    try:
        profile = read_profile(ROOT, options.profile)
        stages = list(compared(profile, options.batches))
        seconds = timed(profile, options.rounds)
    except UserError as error:
        print(f"packing: {error}", file=sys.stderr)
        return 2
    lengths = [stage.pop("lengths") for stage in stages][-1]
    padded, packed = (statistics.median(seconds[way]) for way in (False, True))
    ratio = statistics.median(b / a for a, b in zip(seconds[False], seconds[True], strict=True))
    rows = [
        (
            stage["stage"],
            f"{stage['batches']:,}",
            f"{stage['tokens_padded']:,}",
            f"{stage['tokens']:,}",
            f"{1 - stage['tokens'] / stage['tokens_padded']:.1%}",
            f"{stage['largest_relative_difference']:.1e}",
        )
        for stage in stages
    ]
    header = ("stage", "batches", "tokens with padding", "tokens", "saved", "largest difference of a loss")
    print(plain_table(header, rows, right=range(1, 6)))
    print(f"a step of stage 4: {1000 * padded:.1f} ms padded, {1000 * packed:.1f} in a row; ratio {ratio:.3f}")
    content = {
        "profile": profile.name,
        "environment": runtime.environment(),
        "lengths": {
            "visual_tokens": profile.config.model.qformer.num_query_tokens,
            "samples": {str(length): count for length, count in lengths.items()},
        },
        "stages": stages,
        "largest_relative_difference": max(stage["largest_relative_difference"] for stage in stages),
        "steps_of_a_round": STEPS_OF_A_ROUND,
        "seconds_of_a_step": {
            name: [round(value, 5) for value in seconds[way]] for name, way in (("padded", False), ("packed", True))
        },
        "median": {"padded": round(padded, 5), "packed": round(packed, 5)},
        "ratio": round(ratio, 4),
    }
    write_json(RESULTS, content)
    print(f"written to {RESULTS.relative_to(ROOT)}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="default: the one in params.yaml")
    parser.add_argument("--batches", type=int, default=1000, help="whose losses are compared (1,000)")
    parser.add_argument("--rounds", type=int, default=15, help="of each way (15)")
    options = parser.parse_args()
    if min(options.batches, options.rounds) < 1:
        parser.error("--batches and --rounds of at least 1")
    return options


def opened(profile: Any, name: str) -> tuple[Any, Any, Any]:
    """A stage's model as training begins, its batches, the device."""
    from tinygptv.ground import runtime
    from tinygptv.ground.folders import data_folder
    from tinygptv.model.stage_checkpoint import parent_of
    from tinygptv.steps.train import load_model
    from tinygptv.training.batches import stage_batches

    data, config = data_folder(ROOT, profile.name), profile.config
    device = runtime.prepare(config.runtime, profile.seed)
    parent = parent_of(name)
    model, *_ = load_model(config, name, data / "backbones", data / parent if parent else None, device)
    folders = {step: data / step for step in ("shards", "backbones", "features")}
    return model.train(), stage_batches(config, name, profile.seed, **folders), device


def compared(profile: Any, batches: int) -> Iterator[dict[str, Any]]:
    """The losses of batches both ways and the lengths of their samples, stage by stage, until there were so many."""
    import torch

    from tinygptv.training.loss import batch_loss

    for name in STAGES:
        stage = profile.config.stage(name)
        model, made, device = opened(profile, name)
        found: dict[str, Any] = {"stage": name, "batches": min(batches, stage.steps), "tokens_padded": 0, "tokens": 0}
        largest, lengths = 0.0, Counter[int]()
        for step in range(found["batches"]):
            losses = {False: 0.0, True: 0.0}
            for batch in made.batch(step):
                found["tokens_padded"] += batch.input_ids.numel()
                found["tokens"] += int(batch.attention_mask.sum())
                lengths.update(batch.attention_mask.sum(dim=1).tolist())
                for way in losses:
                    torch.manual_seed(step)
                    with torch.no_grad():
                        loss = batch_loss(model, batch, device, label_only=stage.label_only_logits, packing=way)
                    losses[way] += loss.item()
            largest = max(largest, abs(losses[True] / losses[False] - 1))
        yield found | {"largest_relative_difference": largest, "lengths": dict(sorted(lengths.items()))}
        batches -= found["batches"]
        if not batches:
            return


def timed(profile: Any, rounds: int) -> dict[bool, list[float]]:
    """Seconds of a step of stage 4, padded and packed, one value a round; the first turn only warms up."""
    import torch

    from tinygptv.model.adapters import trainable_parameters
    from tinygptv.training import loop
    from tinygptv.training.step import optimizer_step

    model, batches, device = opened(profile, "stage4")
    stage = profile.config.stage("stage4")
    made = [batches.batch(step) for step in range(STEPS_OF_A_ROUND)]
    state = loop.new_state(model, trainable_parameters(model), stage, (profile.seed, "stage4"))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(rounds + 1):
        for way in (False, True):
            switched = stage.model_copy(update={"packing": way})
            started = time.perf_counter()
            for micro_batches in made:
                optimizer_step(state, micro_batches, switched)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[way].append((time.perf_counter() - started) / STEPS_OF_A_ROUND)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
