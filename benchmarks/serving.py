"""What batching gains: the same questions to `tinygptv serve`, answered together and one by one.

    python benchmarks/serving.py                   # the 8-bit model of the profile in params.yaml, after `dvc repro`
    python benchmarks/serving.py --model models:/tinygptv@champion --rounds 9

Two services of the same model run side by side, one with `--batch 1`. Every turn asks both the same questions over
128 connections at once, in an order that changes with each turn; the ratio is the median, over the turns, of the
throughputs of the same turn, so that a machine which becomes slower or faster meanwhile falls out. A third figure is
that of a client who waits for each answer before asking on. Every answer is compared with that of the model without a
service. Results: benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.arguments import Parser

if TYPE_CHECKING:
    from tinygptv.config import Config

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
MODES = ("one by one", "batched")
AT_ONCE = 128
"""Connections that ask at the same time: while one batch is at work the next one waits."""
ALONE = 20
"""Questions of the client who waits for each answer."""


def main() -> int:
    """Measure, print the table, write the results."""
    options = parse_arguments()
    import tinygptv
    from tinygptv.config.profiles import read_profile
    from tinygptv.ground import runtime
    from tinygptv.ground.errors import UserError
    from tinygptv.ground.files import write_json
    from tinygptv.ground.tables import plain_table
    from tinygptv.serving.limits import ServiceLimits

    try:
        profile = read_profile(ROOT, options.profile)
        data = options.data or ROOT / "data" / profile.name
        source = options.model or str(data / "quantize" / "model")
        asked = read_questions(data / "shards", profile.config, options.questions)
        expected = tinygptv.load(source).answer([image for image, _ in asked], [text for _, text in asked])
        figures = measure(source, asked, expected, options.rounds)
    except UserError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    medians = {mode: statistics.median(values) for mode, values in figures.items()}
    ratio = statistics.median(b / a for a, b in zip(figures["one by one"], figures["batched"], strict=True))
    rows = [
        ("one by one", f"{medians['one by one']:.1f}", "1.00"),
        ("batched", f"{medians['batched']:.1f}", f"{ratio:.2f}"),
        ("a client who waits", f"{medians['waiting client']:.1f}", ""),
    ]
    print(plain_table(("mode", "questions a second", "ratio"), rows, right=[1, 2]))
    content = {
        "model": options.model or "/".join(Path(source).parts[-3:]),
        "questions": len(asked),
        "connections": AT_ONCE,
        "distinct_answers": len(set(expected)),
        "answers_equal_offline": True,
        "rounds": options.rounds,
        "max_batch": ServiceLimits().max_batch,
        "environment": runtime.environment(),
        "questions_per_second": {mode: [round(value, 2) for value in values] for mode, values in figures.items()},
        "median": {mode: round(median, 2) for mode, median in medians.items()},
        "ratio": round(ratio, 3),
    }
    write_json(RESULTS, content)
    print(f"written to {RESULTS.relative_to(ROOT)}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="default: the one in params.yaml")
    parser.add_argument("--data", type=Path, help="the outputs of the steps (default: data/<profile>)")
    parser.add_argument("--model", help="default: the 8-bit model of the profile")
    parser.add_argument("--questions", type=int, default=256, help="of each turn")
    parser.add_argument("--rounds", type=int, default=7, help="of each mode")
    return parser.parse_args()


def read_questions(shards: Path, config: Config, count: int) -> list[tuple[bytes, str]]:
    """Real images of the test set with one question each, evenly spread over all that are asked."""
    from tinygptv.data.tasks import instruction
    from tinygptv.evaluation.benchmarks.table import asks_of
    from tinygptv.evaluation.questions import open_questions
    from tinygptv.ground.errors import DataError

    questions = open_questions(shards, "test", asks_of(config))
    found: list[tuple[bytes, str]] = []
    for place in range(min(count, len(questions))):
        number = place * len(questions) // min(count, len(questions))
        chosen = questions[number]
        found.append((questions.image_file(number), instruction(chosen.task, chosen.content)))
    if not found:
        raise DataError(f"{shards} has no test images that anything is asked about; run `dvc repro shards`")
    return found


def measure(
    source: str, asked: Sequence[tuple[bytes, str]], expected: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Questions a second, by mode, one value a turn; the first turn warms up and does not count."""
    figures: dict[str, list[float]] = {mode: [] for mode in (*MODES, "waiting client")}
    with service(source, "--batch", "1") as single, service(source) as batched:
        addresses = dict(zip(MODES, (single, batched), strict=True))
        for turn in range(rounds + 1):
            for mode in MODES if turn % 2 else MODES[::-1]:
                seconds, answers = asyncio.run(ask_all(addresses[mode], source, asked, at_once=AT_ONCE))
                assert answers == list(expected), "a service must answer as the model does"
                if turn:
                    figures[mode].append(len(asked) / seconds)
            seconds, _ = asyncio.run(ask_all(batched, source, asked[:ALONE], at_once=1))
            if turn:
                figures["waiting client"].append(ALONE / seconds)
            print(f"turn {turn}: " + ", ".join(f"{m} {v[-1]:.1f}/s" for m, v in figures.items() if v), flush=True)
    return figures


async def ask_all(
    url: str, source: str, asked: Sequence[tuple[bytes, str]], *, at_once: int
) -> tuple[float, list[str]]:
    """Seconds and answers, over so many connections; a client that does little leaves the cores to the service."""
    host, _, port = url.removeprefix("http://").partition(":")
    waiting = list(enumerate(request(source, image, text) for image, text in asked))[::-1]
    answers = [""] * len(waiting)
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(at_once)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while waiting:
            place, content = waiting.pop()
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            assert head.startswith(b"HTTP/1.1 200"), answer
            answers[place] = json.loads(answer)["choices"][0]["message"]["content"]
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(ask(*connection) for connection in connections))
    return time.perf_counter() - started, answers


def request(source: str, image: bytes, text: str) -> bytes:
    """A request in OpenAI's form; easy-VQA's images are PNG files."""
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    body = json.dumps({"model": source, "messages": [{"role": "user", "content": parts}]}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def service(source: str, *arguments: str) -> Iterator[str]:
    """A running service; its address."""
    command = [sys.executable, "-m", "tinygptv.cli", "serve", source, "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), "the service's lines are above"
        yield url
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
