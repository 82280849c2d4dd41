"""What ``tinygptv data check`` found, for a person: counts, lengths, the first problems and what to do."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from tinygptv.data.conversations import visible
from tinygptv.data.rows import TWICE
from tinygptv.data.summary import SPLITS
from tinygptv.ground.tables import plain_table
from tinygptv.own_data.checked import DataCheck, SetCheck, quantiles
from tinygptv.own_data.counting import UseCount

WIDTH = 100
"""Columns of a terminal that nothing passes, but for names of files."""
FIRST = 10
"""Problems that are told one by one."""
KINDS = 8
"""Kinds of problems that are counted in lines of their own."""
ADVICE = (
    (r"is not in the folder", "add the file, or correct its name or the folder `images`"),
    (
        r"cannot be decoded|are no PNG|image has .* (pixels|bytes)",
        "replace the picture, or take the record out",
    ),
    (re.escape(TWICE), "give each record an id of its own"),
    (r"names no picture", "name its picture, or take the mark out"),
    (r"has no (question|answer)|is empty|nothing to learn", "fill it in, or take the record out"),
    (r"must alternate|whom it is|is from '", "write questions and answers in turn"),
    (r"JSON|UTF-8|half a character", "save the file as UTF-8 JSON"),
)
"""Part of a reason → what to do; other reasons say it after a semicolon."""


def table(found: DataCheck) -> str:
    """All of it, some screens at most."""
    parts = [_sets(found), _lengths(found), *_remarks(found), _kinds(found), _problems(found)]
    return "\n\n".join(part for part in parts if part)


def advice(reason: str) -> str:
    """What to do about a problem; nothing where its reason says it."""
    known = next((told for part, told in ADVICE if re.search(part, reason)), "")
    return known or ("" if "; " in reason else "mend the record, or take it out")


def _sets(found: DataCheck) -> str:
    rows = []
    for name, of_set in found.sets.items():
        count = of_set.count
        splits = [f"{count.splits[split]:,}" for split in SPLITS]
        counted = [f"{number:,}" for number in (count.splits.total(), count.images)]
        rows.append((name, of_set.settings.format, *counted, *splits, f"{of_set.rejections.count:,}"))
    head = ("data set", "format", "records", "pictures", *SPLITS, "left out")
    return "\n".join([plain_table(head, rows, right=range(2, 8)), *_tasks(found)])


def _tasks(found: DataCheck) -> Iterator[str]:
    for name, of_set in found.sets.items():
        told = ", ".join(f"{number:,} {task}" for task, number in of_set.count.tasks.most_common()) or "nothing"
        yield textwrap.fill(f"{name} is {told}", WIDTH, subsequent_indent="  ")


def _lengths(found: DataCheck) -> str:
    unit, rows = "tokens" if found.exact else "bytes", []
    for use, count in found.use_counts():
        if not count.records:
            continue
        for what, lengths, limit in (
            ("whole", count.sequences, use.stage.max_sequence_tokens),
            ("longest answer", count.longest_answers, use.stage.max_answer_tokens),
        ):
            cells = [f"{number:,}" for number in (*quantiles(lengths).values(), limit)]
            rows.append((use.label if what == "whole" else "", what, *cells, _cut(count, what)))
    if not rows:
        return ""
    head = (f"length in {unit}", "of a record", "median", "99 %", "longest", "limit", "")
    told = plain_table(head, rows, right=range(2, 6))
    if not found.exact:
        told += "\nThe tokenizer is not on this machine yet: there are no more tokens than bytes, mostly a third."
    return told


def _cut(count: UseCount, what: str) -> str:
    if what == "longest answer":
        return f"{count.cut_answers:,} of {count.answers:,} answers cut" if count.cut_answers else ""
    told = [f"{count.left_out_turns:,} later turns left out"] * bool(count.left_out_turns)
    told += [f"{count.too_long.count:,} questions too long"] * bool(count.too_long.count)
    return ", ".join(told)


def _remarks(found: DataCheck) -> Iterator[str]:
    """Lines on what is worth knowing and refuses nothing."""
    lines = []
    for name, of_set in found.sets.items():
        if of_set.doubled.count:
            lines.append(f"{name}: pictures that are copies of others, under other names: {of_set.doubled.count:,}")
        if of_set.leaks.count:
            told = "held-out pictures that are also trained on, so that scores flatter"
            lines.append(f"{name}: {told}: {of_set.leaks.count:,}")
        if _holds_nothing_out(of_set):
            fix = "more pictures or a larger `split` would tell what was learned"
            lines.append(f"{name}: nothing is held out; {fix}")
    if lines:
        yield "\n".join(lines)


def _holds_nothing_out(of_set: SetCheck) -> bool:
    return bool(of_set.count.splits["train"]) and of_set.count.splits.total() == of_set.count.splits["train"]


def _kinds(found: DataCheck) -> str:
    """How many records are left out for what."""
    kinds: Counter[str] = Counter()
    for of_set in found.sets.values():
        for reason, count in of_set.rejections.reasons.items():
            kinds[_kind(reason)] += count
    if len(kinds) < 2:
        return ""
    rows = [(f"{count:,}", textwrap.shorten(kind, WIDTH - 12, placeholder=" …")) for kind, count in kinds.most_common()]
    more = f"\n  and {len(rows) - KINDS} other reasons" if len(rows) > KINDS else ""
    return plain_table(("left out", "because"), rows[:KINDS], right=(0,)) + more


def _kind(reason: str) -> str:
    """A reason without what is of one record: names and numbers."""
    return visible(re.sub(r"\b\d+\b", "…", re.sub(r"'[^']*'|\"[^\"]*\"", "…", reason)))


def _problems(found: DataCheck) -> str:
    listed = list(found.problems())
    if not listed:
        return ""
    several = len(found.sets) > 1
    lines = [f"The first {FIRST} of {_total(found):,} problems:" if _total(found) > FIRST else "Problems:"]
    for name, problem in islice(listed, FIRST):
        what = advice(problem["reason"])
        told = f"{f'{name}, ' if several else ''}{problem['id']}: {problem['reason']}{f'; {what}' if what else ''}"
        lines += textwrap.wrap(visible(told), WIDTH, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def _total(found: DataCheck) -> int:
    sets = found.sets.values()
    uses = [count for of in sets for count in of.count.uses.values()]
    return sum(of.rejections.count + of.leaks.count + of.doubled.count for of in sets) + sum(
        count.cuts.count + count.too_long.count for count in uses
    )
