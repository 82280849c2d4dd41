"""What the pipeline takes for 10^7 to 10^9 image-text pairs on 1 to 512 GPUs: `scale_model.py [--pairs N] [--gpus N]`.

Without options the tables of docs/scale.md are written anew; with them the steps of one case are shown. What is
assumed and what was measured is in scale_facts.py, how it is put together in scale_steps.py and scale_exchange.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import scale_facts as facts
from scale_exchange import Exchange, Links
from scale_recipe import leaf_seconds, paper
from scale_steps import Cluster, Estimate, estimate

from tinygptv.ground.arguments import Parser
from tinygptv.ground.files import write_text
from tinygptv.ground.tables import plain_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
BEGIN = "<!-- table: benchmarks/scale_model.py: {} -->"
END = "<!-- end of table -->"
PAIRS = (10**7, 10**8, 10**9)
GPUS = (1, 8, 64, 512)
LIMIT = 0.05
"""Share of a step that exact sums may take."""
ASSUMED = (
    ("GPU_USD_AN_HOUR", "USD an hour of an H100 with its part of a machine", "overviews of May 2026: 2 to 5"),
    ("CORE_USD_AN_HOUR", "USD an hour of a core without a GPU", "round number"),
    ("STORAGE_USD_A_GB_MONTH", "USD a GB and month in an object store", "S3, us-east-1, list price"),
    ("PUT_USD_A_THOUSAND", "USD for 1,000 writes", "the same"),
    ("GET_USD_A_THOUSAND", "USD for 1,000 reads", "the same; traffic is free within a region"),
    ("GPUS_A_NODE", "GPUs in a machine", "usual"),
    ("CORES_A_GPU", "cores beside each", "usual: 12 to 26"),
    ("DISK_TB_A_NODE", "TB of fast disks in a machine", "usual with eight H100"),
    ("NVLINK_GB_A_SECOND", "GB/s between two H100 of a machine, each way", "NVIDIA's data sheet"),
    ("PCIE_GB_A_SECOND", "GB/s of 16 lanes of PCIe 4, each way", "its specification"),
    ("NODE_GBIT_A_SECOND", "Gbit/s of Ethernet of a machine with its eight GPUs", "one card; up to 3,200 exist"),
    ("LINK_SHARE", "of these, what an exchange reaches", "round number"),
    ("MESSAGE_SECONDS", "seconds of a message beside its bytes", "round number"),
    ("STORE_GB_A_SECOND_A_NODE", "GB/s that a machine reads from the store", "round number"),
    ("ADDRESSES_A_SECOND_A_NODE", "addresses a second and machine", "img2dataset's README: 100 million in 20 hours"),
    ("DEAD_ADDRESSES", "share of addresses without a picture", "often, of lists that are years old"),
)
MOVES = {
    "disk": "Every machine keeps all rows, as a step's samples may be any: a file system that all share, or an order "
    "drawn among blocks, each with its machine. `features: in_loop` keeps pictures instead, where these are smaller",
    "hosts": "More machines: cores and cards wait for the web",
    "one process": "`download` reads every raw file in one process, to know its digest. Digests that come with the "
    "tars, or a share for each machine, as `shards` has it",
    "image tower": "Compiled blocks of the tower and larger batches: it was measured at 23 % of the card's peak, the "
    "language model at 37 %",
    "GPU": "Several samples in a sequence (packing), or a card with a higher peak",
    "one leaf": "Larger steps of stage 4, which are another recipe: the released one has 1 to 3 samples a step, too "
    "few to share. The hours are those of sequences of 2,048 tokens; real ones are shorter",
    "exchange": "Sums within each machine first, or faster cards: see the last table",
    "store": "A file system that all machines share, instead of copies",
    "answers": "More GPUs, up to one for each 256 questions",
    "start": "Take along what was compiled: `.state/paper/compiled`",
    "cores": "More cores for each GPU",
    "network": "Faster cards",
}


def main() -> None:
    """Show one case, or write the page."""
    parser = Parser(prog="benchmarks/scale_model.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, help="image-text pairs that stage 1 sees once")
    parser.add_argument("--gpus", type=int, help="H100, eight to a machine")
    parser.add_argument("--json", action="store_true", help="everything, in seconds and bytes")
    options = parser.parse_args()
    if any(number is not None and number < 1 for number in (options.pairs, options.gpus)):
        parser.error("--pairs and --gpus are at least 1")
    chosen = [
        estimate(pairs, Cluster(gpus))
        for pairs in ((options.pairs,) if options.pairs else PAIRS)
        for gpus in ((options.gpus,) if options.gpus else GPUS)
    ]
    if options.json:
        print(json.dumps([as_json(one) for one in chosen], indent=2))
    elif options.pairs or options.gpus:
        print("\n\n".join(f"{title(one)}\n{plain_table(*step_table(one), right=range(1, 8))}" for one in chosen))
    else:
        write_text(PAGE, page(PAGE.read_text()))


def page(text: str) -> str:
    """The page with its tables as they are now."""
    chosen = [estimate(pairs, Cluster(gpus)) for pairs in PAIRS for gpus in GPUS]
    tables = {
        "assumed": assumed_table(),
        "whole": whole_table(chosen),
        "moves": (("waits for", "what would move it"), [*MOVES.items()]),
        "steps": step_table(estimate(10**8, Cluster(64))),
        "exchange": exchange_table(),
    }
    for name, (head, rows) in tables.items():
        before, mark, rest = text.partition(BEGIN.format(name))
        assert mark, f"docs/scale.md has no place for {name}"
        text = before + mark + "\n" + markdown(head, rows) + "\n" + END + rest.partition(END)[2]
    return text


def title(one: Estimate) -> str:
    """A case in a line."""
    days = f"{one.seconds / 3600:,.1f} hours, {one.usd:,.0f} USD and {one.usd_a_month:,.0f} USD a month"
    return f"{one.pairs:,} pairs, {one.cluster.gpus} GPUs: {days}; first bottleneck: {one.bottleneck}"


def assumed_table() -> tuple[Sequence[str], list[Sequence[str]]]:
    """Everything assumed, by its name in scale_facts.py."""
    return ("assumed", "what", "from"), [
        (f"{getattr(facts, name):.4g}", what, source) for name, what, source in ASSUMED
    ]


def whole_table(chosen: Sequence[Estimate]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Hours of each step, and what all of them cost, for each case."""
    names = list(chosen[0].steps)
    head = ("pairs", "GPUs", *names, "all, h", "USD", "TB kept", "USD a month", "10⁶ requests", "first bottleneck")
    rows = [
        (
            f"{one.pairs:,}",
            str(one.cluster.gpus),
            *(hours(one.steps[name].seconds) for name in names),
            hours(one.seconds),
            f"{one.usd:,.0f}",
            f"{one.kept / 1e12:,.1f}",
            f"{one.usd_a_month:,.0f}",
            f"{sum(step.asked + step.puts + step.gets for step in one.steps.values()) / 1e6:,.0f}",
            one.bottleneck,
        )
        for one in chosen
    ]
    return head, rows


def step_table(one: Estimate) -> tuple[Sequence[str], list[Sequence[str]]]:
    """What each step of a case takes."""
    head = (
        "step",
        "hours",
        "USD",
        "TB over networks",
        "TB kept",
        "requests to hosts",
        "to the store",
        "MiB",
        "waits for",
    )
    rows = [
        (
            step.name,
            hours(step.seconds),
            f"{step.usd:,.1f}",
            f"{step.read / 1e12:,.1f}",
            f"{step.kept / 1e12:,.1f}",
            f"{step.asked:,.0f}",
            f"{step.puts + step.gets:,.0f}",
            "" if step.mib is None else f"{step.mib:,.0f}",
            step.bound,
        )
        for step in one.steps.values()
    ]
    return head, rows


def exchange_table() -> tuple[Sequence[str], list[Sequence[str]]]:
    """What exact sums take of a step, beside a plain all-reduce."""
    known = facts.measured()
    ethernet = facts.NODE_GBIT_A_SECOND / 8
    links = {
        (8, "NVLink"): Links(),
        (8, "PCIe 4"): Links(facts.PCIE_GB_A_SECOND),
        (8, "Ethernet, a machine each"): Links(facts.NVLINK_GB_A_SECOND, ethernet, 1),
        (64, "Ethernet, eight a machine"): Links(),
    }
    head = ("GPUs", "links", "stage", "leaves", "MB sent: exact", "plain", "ms: exact", "plain", "by machine first")
    head = (*head, "exact, of a step", "over plain", "≤ 5 %")
    rows: list[Sequence[str]] = []
    for (gpus, name), between in links.items():
        for stage in ("stage1", "stage2"):
            for each in (1, 3):
                sums = Exchange(known.gradient_bytes[stage], gpus * each, gpus)
                exact, plain = sums.exact_seconds(between), sums.plain_seconds(between)
                step = each * leaf_seconds(stage, known)
                sizes = (f"{size / 1e6:,.0f}" for size in (sums.exact_bytes, sums.plain_bytes))
                waits = (exact, plain, sums.by_machine_seconds(between))
                times = (f"{seconds * 1000:,.1f}" for seconds in waits)
                shares = (f"{exact / step:.1%}", f"{(exact - plain) / step:.1%}")
                fits = "yes" if exact <= LIMIT * step else "no"
                rows.append((str(gpus), name, stage, str(gpus * each), *sizes, *times, *shares, fits))
    return head, rows


def hours(seconds: float) -> str:
    """Seconds as hours, with fewer digits where they are many."""
    found = seconds / 3600
    return f"{found:,.{0 if found >= 10 else 1 if found >= 1 else 2}f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of a page."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def as_json(one: Estimate) -> dict[str, Any]:
    """A case with all that follows from it."""
    steps = {
        name: asdict(step) | {"seconds": step.seconds, "bound": step.bound, "usd": step.usd}
        for name, step in one.steps.items()
    }
    whole = {name: getattr(one, name) for name in ("seconds", "usd", "kept", "usd_a_month", "disk_bytes", "bottleneck")}
    samples = paper().stage1.micro_batch_size * steps["stage1"]["gpus"]
    return {"pairs": one.pairs, "gpus": one.cluster.gpus, **whole, "samples_a_step": samples, "steps": steps}


if __name__ == "__main__":
    main()
