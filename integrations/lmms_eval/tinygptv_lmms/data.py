"""A profile's test questions as lmms-eval's tasks: a parquet file and a task file for each thing that is asked.

The folder needs no network and no checkout: lmms-eval finds its tasks with ``--include_path``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, Value
from datasets import List as ListOf

from tinygptv.config.profiles import read_profile
from tinygptv.data.tasks import instruction
from tinygptv.evaluation.benchmarks.table import asks_of
from tinygptv.evaluation.questions import evenly_spaced, open_questions
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import DataError, UserError, complain
from tinygptv.ground.files import canonical, replace_folder, write_text
from tinygptv.ground.folders import data_folder, find_root
from tinygptv.ground.yaml_files import profile_file
from tinygptv_lmms.scoring import metrics_of

if TYPE_CHECKING:
    from tinygptv.evaluation.benchmarks.table import Ask
    from tinygptv.evaluation.questions import Question, Questions

PROFILE = "profile.yaml"
ROWS = 256
"""Questions of a row group, whose images are in memory together."""
COLUMNS = Features(
    {
        "id": Value("string"),
        "benchmark": Value("string"),
        "key": Value("string"),
        "instruction": Value("string"),
        "earlier": ListOf({"instruction": Value("string"), "answer": Value("string")}),
        "choices": ListOf(Value("string")),
        "answer": Value("string"),
        "truth": Value("string"),
        "image": Image(),
    }
)
"""``truth`` is JSON; ``key`` names the image, ``answer`` is one that is right, to be shown."""
FUNCTIONS = '''"""What the task files beside this one name; docs/lmms_eval.md."""

from pathlib import Path

from tinygptv_lmms.scoring import Scoring, doc_to_messages, doc_to_text, doc_to_visual

scoring = Scoring(Path(__file__).parent)
process_results, aggregate = scoring.process_results, scoring.aggregate
'''


def write_tasks(root: Path, profile: str | None, out: Path, limit: int | None = None) -> dict[str, int]:
    """Write the tasks of a profile's test questions.

    Args:
        root: the checkout, whose step ``shards`` has run.
        profile: its name; None: that of ``params.yaml``.
        out: the folder; one that this program wrote before is replaced.
        limit: at most so many questions of each task, evenly spread; None: all.

    Returns:
        Name of a task → its questions.

    Raises:
        UserError: something is missing or damaged, or the folder holds something else.
    """
    read = read_profile(root, profile)
    asks = asks_of(read.config)
    if out.exists() and not (out / PROFILE).is_file():
        raise DataError(f"{out} exists and holds no tasks of this program; name another folder")
    questions = open_questions(data_folder(root, read.name) / "shards", "test", asks)
    if limit is not None:
        questions = evenly_spaced(questions, limit)
    staged = out.with_name(f".{out.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    written = {}
    for ask in asks:
        of_it = questions.some((questions.places["ask"] == asks.index(ask)).nonzero()[0])
        if not len(of_it):
            complain("tinygptv-lmms-data", f"{ask.name}: the test split has no question of it; no task is written")
            continue
        name = f"{read.name}_{ask.name}"
        _write_rows(of_it, staged / f"{name}.parquet")
        write_text(staged / f"{name}.yaml", task_file(name, ask, out.resolve() / f"{name}.parquet"))
        written[name] = len(of_it)
    if not written:
        raise DataError(f"no data set of the profile {read.name} has test questions; `evaluate.benchmarks` names them")
    shutil.copyfile(profile_file(root, read.name), staged / PROFILE)
    write_text(staged / "utils.py", FUNCTIONS)
    replace_folder(staged, out)
    return written


def task_file(name: str, ask: Ask, parquet: Path) -> str:
    """The YAML of a task; lmms-eval wants a path that does not depend on where it runs.

    Any model may be asked; tinygptv takes the instruction as it is, and measures likelihoods where there are choices.
    """
    functions = ("doc_to_visual", "doc_to_text", "doc_to_messages", "process_results")
    lines = [
        f"# {ask.benchmark.title}; {ask.benchmark.source}",
        f"task: {_text(name)}",
        "dataset_path: parquet",
        f"dataset_kwargs: {{data_files: {{test: {_text(str(parquet))}}}}}",
        "test_split: test",
        "output_type: generate_until",
        *(f"{function}: !function utils.{function}" for function in functions),
        "doc_to_target: answer",
        "generation_kwargs: {until: []}",
        'model_specific_generation_kwargs: {tinygptv: {template: "{}", choices: true}}',
        "cluster_key: image",
        "metric_list:",
    ]
    for metric_name, metric in metrics_of(ask.benchmark).items():
        lines += [
            f"  # {metric.variant}",
            f"  - metric: {_text(metric_name)}",
            "    aggregation: !function utils.aggregate",
            "    higher_is_better: true",
        ]
    return "\n".join(lines) + "\n"


def _write_rows(questions: Questions, path: Path) -> None:
    with pq.ParquetWriter(path, COLUMNS.arrow_schema, compression="zstd") as writer:
        for start in range(0, len(questions), ROWS):
            group = questions[start : start + ROWS]
            rows = [_row(group, place, question) for place, question in enumerate(group)]
            writer.write_table(pa.Table.from_pylist(rows, COLUMNS.arrow_schema))


def _row(questions: Questions, place: int, question: Question) -> dict[str, Any]:
    return {
        "id": question.record,
        "benchmark": question.benchmark,
        "key": question.key,
        "instruction": questions.words(place, question, "as_trained"),
        "earlier": [
            {"instruction": instruction(question.task, turn.question), "answer": turn.answer}
            for turn in question.earlier
        ],
        "choices": list(questions.choices(place, question)),
        "answer": question.truth,
        "truth": canonical(question.annotation),
        "image": {"bytes": questions.image_file(place), "path": None},
    }


def _text(value: str) -> str:
    """A text as YAML has it, which takes JSON's."""
    return json.dumps(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tasks of a profile."""
    parser = Parser(prog="tinygptv-lmms-data", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", help="the profile; absent: that of params.yaml")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout, or a folder in it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tasks")
    parser.add_argument("--limit", type=int, help="at most so many questions of each task, evenly spread")
    given = parser.parse_args(arguments)
    if given.limit is not None and given.limit < 1:
        parser.error("--limit must be at least 1")
    try:
        written = write_tasks(find_root(given.root.resolve()), given.profile, given.out, given.limit)
    except UserError as error:
        complain(parser.prog, error)
        return error.exit_code
    for name, count in written.items():
        print(f"{name}: {count:,} questions")
    print(f"lmms-eval --model tinygptv --include_path {given.out} --tasks {','.join(written)} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
