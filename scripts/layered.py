"""A layered drawing: rows of boxes, lines that run down, few crossings, and the same result each time.

Lines are cut at every row that they pass; there they have a lane, which lines to one box share. The rows are sorted by
what their items are joined to, from several beginnings (Sugiyama, Tagawa and Toda, 1981), and then pulled straight.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, combinations, pairwise

Item = str | tuple[str]
"""What has a place in a row: a box by its name, or the lane of the lines to a box, as a tuple of that name."""
End = tuple[int, Item]
"""An item and its row."""
Segment = tuple[End, End]
"""A piece of a line, from a row to the next one."""
STARTS, ROUNDS = 100, 60
STRAIGHT = 4
"""How much harder a lane pulls than a box, at each end of a line."""


def pieces(rows: Sequence[Sequence[str]], lines: Iterable[tuple[str, str]]) -> list[Segment]:
    """The lines, cut at every row; each runs down."""
    row_of = {name: number for number, row in enumerate(rows) for name in row}
    found: set[Segment] = set()
    for a, b in lines:
        items: list[Item] = [a, *[(b,)] * (row_of[b] - row_of[a] - 1), b]
        found.update(pairwise(enumerate(items, row_of[a])))
    return sorted(found, key=str)


def arranged(rows: Sequence[Sequence[str]], segments: Sequence[Segment]) -> list[list[Item]]:
    """Boxes and lanes of each row, in an order with few crossings."""
    lanes = {end for segment in segments for end in segment if isinstance(end[1], tuple)}
    start: list[list[Item]] = [[*row, *sorted(i for r, i in lanes if r == number)] for number, row in enumerate(rows)]
    dice = random.Random(0)  # noqa: S311 (an order to begin with)
    best: tuple[float, list[list[Item]]] = (float("inf"), start)
    for _ in range(STARTS):
        order = [dice.sample(row, len(row)) for row in start]
        for _ in range(8):
            _settle(order, segments, upwards=False)
            _settle(order, segments, upwards=True)
        best = min(best, (_badness(order, segments), order), key=lambda found: found[0])
    return _exchanged(best[1], segments)


def straightened(
    order: Sequence[Sequence[Item]],
    segments: Sequence[Segment],
    widths: Mapping[End, float],
    *,
    total: float,
    room: float,
) -> dict[End, float]:
    """The middle of every item: near what it is joined to.

    Args:
        order: the items of each row, from the left.
        segments: what joins them.
        widths: of every item.
        total: width of the drawing.
        room: least width between two items.
    """
    x = {(number, item): total / 2 for number, row in enumerate(order) for item in row}
    joined: dict[End, list[tuple[End, float]]] = {end: [] for end in x}
    for a, b in segments:
        weight = 1.0 + STRAIGHT * sum(isinstance(item, tuple) for _, item in (a, b))
        joined[a].append((b, weight))
        joined[b].append((a, weight))
    for turn in range(ROUNDS):
        for number in range(len(order))[:: 1 if turn % 2 else -1]:
            ends = [(number, item) for item in order[number]]
            pulls = [sorted((x[other], weight) for other, weight in joined[end]) or [(x[end], 1.0)] for end in ends]
            wanted = [
                _median(pull) if isinstance(item, tuple) else _mean(pull)
                for pull, (_, item) in zip(pulls, ends, strict=True)
            ]
            gaps = [(widths[left] + widths[right]) / 2 + room for left, right in pairwise(ends)]
            edges = (widths[ends[0]] / 2, total - widths[ends[-1]] / 2)
            places = spread(wanted, gaps, edges, [sum(weight for _, weight in pull) for pull in pulls])
            x.update(zip(ends, places, strict=True))
    return x


def spread(
    wanted: Sequence[float],
    gaps: Sequence[float],
    edges: tuple[float, float],
    weights: Sequence[float] | None = None,
) -> list[float]:
    """Places near the wanted ones, in their order, at least ``gaps`` apart and between the edges.

    Where two want the same place, they share the way there by their weights (pool adjacent violators).
    """
    offsets = [sum(gaps[:i]) for i in range(len(wanted))]
    pools: list[tuple[float, float, int]] = []
    for want, offset, weight in zip(wanted, offsets, weights or [1.0] * len(wanted), strict=True):
        pools.append((want - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m, i), (b, n, j) = pools[-2:]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n, i + j)]
    shifts = [value for value, _, count in pools for _ in range(count)]
    first, last = edges[0], edges[1] - sum(gaps)
    return [offset + max(first, min(last, shift)) for offset, shift in zip(offsets, shifts, strict=True)]


def _settle(order: list[list[Item]], segments: Sequence[Segment], *, upwards: bool) -> None:
    """Sort each row by the mean place of what its items are joined to in the row before."""
    for number in range(len(order))[:: -1 if upwards else 1]:
        place = {(r, item): i / len(row) for r, row in enumerate(order) for i, item in enumerate(row)}
        near: dict[Item, list[float]] = {item: [] for item in order[number]}
        for upper, lower in segments:
            here, there = (upper, lower) if upwards else (lower, upper)
            if here[0] == number:
                near[here[1]].append(place[there])
        order[number].sort(key=lambda item: sum(near[item]) / len(near[item]) if near[item] else place[number, item])


def _badness(order: Sequence[Sequence[Item]], segments: Sequence[Segment]) -> float:
    """How many lines cross, and, among equals, how far they go sideways."""
    place = {(r, item): (i + 0.5) / len(row) for r, row in enumerate(order) for i, item in enumerate(row)}
    crossings = sum(
        a[0] == c[0] and (place[a] - place[c]) * (place[b] - place[d]) < 0
        for (a, b), (c, d) in combinations(segments, 2)
    )
    return crossings + sum(abs(place[a] - place[b]) for a, b in segments) / 100


def _exchanged(order: list[list[Item]], segments: Sequence[Segment]) -> list[list[Item]]:
    """An order in which no exchange of two items of a row is for the better."""
    least, better = _badness(order, segments), True
    while better:
        better = False
        for row in order:
            for i, j in combinations(range(len(row)), 2):
                row[i], row[j] = row[j], row[i]
                if (now := _badness(order, segments)) < least - 1e-9:
                    least, better = now, True
                else:
                    row[i], row[j] = row[j], row[i]
    return order


def _mean(pull: Sequence[tuple[float, float]]) -> float:
    return sum(place * weight for place, weight in pull) / sum(weight for _, weight in pull)


def _median(pull: Sequence[tuple[float, float]]) -> float:
    """The first place up to which at least half of the weight lies; ``pull`` is sorted."""
    places, weights = zip(*pull, strict=True)
    return places[next(i for i, weight in enumerate(accumulate(weights)) if 2 * weight >= sum(weights))]
