"""What asking beside others gains: the same questions to `tinygptv serve`, by so many users at once.

    python benchmarks/serving.py                   # the 8-bit model of the profile in params.yaml, after `dvc repro`
    python benchmarks/serving.py --model models:/tinygptv@champion --rounds 9
    python benchmarks/serving.py --beside ../other     # and the service of another checkout, with this environment

Services of the same model run side by side, one with `--batch 1`. Every turn asks each the same questions, in an order
of services that changes with each turn; ratios are medians, over the turns, of the throughputs of the same turn, so
that a machine which becomes slower or faster meanwhile falls out. A user asks on when the answer is there. Seconds are
those from a request to the end of its answer, of all turns together. Every answer is compared with that of the model
without a service. Results: benchmarks/results/serving.json.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygptv.ground.arguments import Parser

if TYPE_CHECKING:
    from tinygptv.config import Config

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
ALONE, TOGETHER, BEFORE = "one by one", "together", "before"
USERS = {1: 20, 4: 64, 16: 128, 128: 256}
"""Users that ask at the same time, and the questions of a turn."""


Round = dict[int, dict[str, tuple[float, list[float]]]]
"""Of a number of users and a service: seconds of a turn, and of each of its questions."""


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
        asked = read_questions(data / "shards", profile.config, max(USERS.values()))
        expected = tinygptv.load(source).answer([image for image, _ in asked], [text for _, text in asked])
        rounds = measure(source, asked, expected, options.rounds, options.beside)
    except UserError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    services = list(rounds[0][1])
    rows = [told(rounds, services, users, service) for users in USERS for service in services]
    heads = ("users", "service", "questions a second", "ratio to the first", "p50 ms", "p95 ms")
    print(plain_table(heads, [[str(value) for value in row.values()] for row in rows], right=[0, 2, 3, 4, 5]))
    content = {
        "model": options.model or "/".join(Path(source).parts[-3:]),
        "questions": USERS,
        "distinct_answers": len(set(expected)),
        "answers_equal_offline": True,
        "rounds": options.rounds,
        "max_batch": ServiceLimits().max_batch,
        "environment": runtime.environment(),
        "rows": rows,
    }
    write_json(RESULTS, content)
    print(f"written to {RESULTS.relative_to(ROOT)}")
    return 0


def told(rounds: Sequence[Round], services: Sequence[str], users: int, service: str) -> dict[str, Any]:
    """A row of the table."""
    rates = {name: [USERS[users] / of[users][name][0] for of in rounds] for name in (services[0], service)}
    seconds = sorted(second for of in rounds for second in of[users][service][1])
    return {
        "users": users,
        "service": service,
        "questions_per_s": round(statistics.median(rates[service]), 1),
        "ratio": round(statistics.median(b / a for a, b in zip(*rates.values(), strict=True)), 2)
        if service != services[0]
        else 1.0,
        "p50_ms": round(1000 * seconds[len(seconds) // 2]),
        "p95_ms": round(1000 * seconds[len(seconds) * 95 // 100]),
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="default: the one in params.yaml")
    parser.add_argument("--data", type=Path, help="the outputs of the steps (default: data/<profile>)")
    parser.add_argument("--model", help="default: the 8-bit model of the profile")
    parser.add_argument("--beside", type=Path, help="a checkout whose service is measured, too")
    parser.add_argument("--rounds", type=int, default=7, help="of each service")
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
    source: str, asked: Sequence[tuple[bytes, str]], expected: Sequence[str], rounds: int, beside: Path | None
) -> list[Round]:
    """What each turn took; the first one warms up and does not count."""
    figures: list[Round] = []
    with ExitStack() as stack:
        addresses = {}
        if beside is not None:
            addresses[BEFORE] = stack.enter_context(service(source, code=beside / "src"))
        addresses[ALONE] = stack.enter_context(service(source, "--batch", "1"))
        addresses[TOGETHER] = stack.enter_context(service(source))
        for turn in range(rounds + 1):
            found: Round = {users: {} for users in USERS}
            for users, count in USERS.items():
                for name in list(addresses)[:: 1 if turn % 2 else -1]:
                    seconds, each, answers = asyncio.run(ask_all(addresses[name], source, asked[:count], users))
                    assert answers == list(expected)[:count], "a service must answer as the model does"
                    found[users][name] = seconds, each
            figures.append({users: {name: of[name] for name in addresses} for users, of in found.items()})
            rates = [
                f"{users}: " + ", ".join(f"{USERS[users] / of[0]:.1f}" for of in v.values())
                for users, v in found.items()
            ]
            print(f"turn {turn}, questions a second: " + "; ".join(rates), flush=True)
    return figures[1:]


async def ask_all(
    url: str, source: str, asked: Sequence[tuple[bytes, str]], users: int
) -> tuple[float, list[float], list[str]]:
    """Seconds altogether and of each question, and answers; a client that does little leaves the cores to services."""
    host, _, port = url.removeprefix("http://").partition(":")
    waiting = list(enumerate(request(source, image, text) for image, text in asked))[::-1]
    answers, each = [""] * len(waiting), [0.0] * len(waiting)
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(users)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while waiting:
            place, content = waiting.pop()
            began = time.perf_counter()
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            assert head.startswith(b"HTTP/1.1 200"), answer
            each[place] = time.perf_counter() - began
            answers[place] = json.loads(answer)["choices"][0]["message"]["content"]
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(ask(*connection) for connection in connections))
    return time.perf_counter() - started, each, answers


def request(source: str, image: bytes, text: str) -> bytes:
    """A request in OpenAI's form; easy-VQA's images are PNG files."""
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    body = json.dumps({"model": source, "messages": [{"role": "user", "content": parts}]}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def service(source: str, *arguments: str, code: Path = ROOT / "src") -> Iterator[str]:
    """A running service; its address."""
    command = [sys.executable, "-m", "tinygptv.cli", "serve", source, "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(code)})
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
