"""The batcher: a question begins beside those under way, long ones hold up no short ones, faults stay theirs."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from tinygptv.ground.errors import NotFiniteError
from tinygptv.serving.batching import Batcher
from tinygptv.serving.metrics import Metrics


@dataclass(eq=False)
class Count:
    """An answer as long as asked for. Below zero none is encoded, 113 not begun, 88 not written; 199 is none."""

    number: int
    said: int = 0
    left: bool = False
    error: Exception | None = None

    @property
    def over(self) -> bool:
        return self.left or self.error is not None or self.said >= self.number


class Counter:
    """A model that counts to a number, by one a step; what it did, in its order."""

    def __init__(self, may: threading.Event | None = None) -> None:
        self.did: list[Any] = []
        self._under_way: list[Count] = []
        self._may = may

    def encode(self, questions: Any) -> list[int]:
        self.did.append(("encode", [asked.prompt for asked in questions]))
        if min(asked.prompt for asked in questions) < 0:
            raise ValueError("no image")
        return [asked.prompt for asked in questions]

    def begin(self, questions: Any) -> list[Count]:
        numbers = [asked.prompt for asked, _, _ in questions]
        self.did.append(("begin", numbers))
        if 113 in numbers:
            raise ValueError("113")
        found = [Count(number, said=1) for number in numbers]
        self._under_way += found
        return found

    def step(self) -> None:
        if self._may is not None:
            assert self._may.wait(20)
        self._under_way = [count for count in self._under_way if not count.over]
        self.did.append(len(self._under_way))
        for count in self._under_way:
            count.said += 1
            if count.number == 199:
                count.error = NotFiniteError("no numbers")
            if count.number == 107 and count.said == 7:
                raise RuntimeError("107")

    def clear(self) -> None:
        self._under_way = []

    def answer(self, asked: Any, speech: Count) -> int:
        if speech.error is not None:
            raise speech.error
        if speech.number == 88:
            raise ValueError("no text")
        return speech.said


def run(act: Any, **limits: int) -> Any:
    """Let ``act`` ask models: a function of a model, a number and an image."""

    async def go() -> Any:
        batcher: Any = Batcher(Metrics(), **{"max_batch": 4, "max_slots": 1000} | limits)
        batcher.start()

        def ask(model: Any, number: int, image: object = None) -> asyncio.Task[Any]:
            asked = SimpleNamespace(digest=image or number, prompt=number, prompt_tokens=10)
            return asyncio.create_task(batcher.submit(model, asked, number))

        try:
            return await act(ask, batcher)
        finally:
            await batcher.stop()

    return asyncio.run(go())


def ask_all(model: Any, *numbers: int) -> Any:
    async def act(ask: Any, _: Any) -> list[Any]:
        return await asyncio.gather(*(ask(model, number) for number in numbers), return_exceptions=True)

    return act


def test_never_more_answers_than_fit_and_the_next_one_begins_when_one_ends():
    model = Counter()
    assert run(ask_all(model, 9, 2, 9, 3, 4, 2, 1)) == [9, 2, 9, 3, 4, 2, 1]
    steps = [step for step in model.did if isinstance(step, int)]
    assert max(steps) == 4 and steps.count(4) >= 2
    assert len(steps) <= 8 + 8, "the third runs beside the first"


def test_slots_are_bounded_by_the_longest_and_the_oldest_is_next():
    model = Counter()
    assert run(ask_all(model, 30, 2, 3), max_slots=80) == [30, 2, 3]  # 40 slots each beside the first
    assert max(step for step in model.did if isinstance(step, int)) == 2
    begun = [number for what in model.did if not isinstance(what, int) and what[0] == "begin" for number in what[1]]
    assert begun == [30, 2, 3]
    assert run(ask_all(model, 500), max_slots=80) == [500], "one is taken in any case"


def test_a_short_answer_is_not_held_up_by_a_long_one():
    may = threading.Event()
    long, short = Counter(may), Counter()

    async def act(ask: Any, batcher: Any) -> Any:
        slow = ask(long, 3000)
        while not long.did or long.did[-1][0] != "begin":
            await asyncio.sleep(0.001)
        quick = [ask(model, number) for model in (long, short) for number in (2, 5)]
        while batcher.waiting > 2:
            await asyncio.sleep(0.001)
        may.set()
        found = [await task for task in quick]
        return found, slow.done(), await slow

    assert run(act, max_slots=10**6) == ([2, 5, 2, 5], False, 3000)


def test_images_are_encoded_together_and_one_that_comes_again_once():
    model, may = Counter(), threading.Event()
    first, started = model.encode, threading.Event()

    def slow(questions: Any) -> list[int]:
        started.set()
        assert may.wait(20)
        return first(questions)

    model.encode = slow  # type: ignore[method-assign]

    async def act(ask: Any, batcher: Any) -> list[int]:
        tasks = [ask(model, 1)]
        await asyncio.to_thread(started.wait)
        tasks += [ask(model, number, image=f"image {number % 20}") for number in range(2, 62)]
        await asyncio.sleep(0)
        assert batcher.waiting == 60
        may.set()
        return [await task for task in tasks]

    run(act)
    sizes = [len(what[1]) for what in model.did if not isinstance(what, int) and what[0] == "encode"]
    assert sizes == [1, 48, 12], "16 images of three questions each, four of three"


def test_only_the_faulty_fail():
    model = Counter()
    results = run(ask_all(model, 5, -1, 3, 113, 199, 88, 4))
    assert [result for result in results if isinstance(result, int)] == [5, 3, 4]
    assert [str(result) for result in (results[1], *results[3:6])] == ["no image", "113", "no numbers", "no text"]


def test_what_fails_together_is_said_one_by_one():
    model = Counter()
    results = run(ask_all(model, 9, 107, 8, 9, 2))
    assert [results[place] for place in (0, 2, 3, 4)] == [9, 8, 9, 2]
    assert str(results[1]) == "107"


def test_stopping_finishes_what_waits():
    model = Counter()

    async def act(ask: Any, batcher: Any) -> list[int]:
        waiting = [ask(model, number) for number in range(1, 10)]
        await asyncio.sleep(0)
        await batcher.stop()
        return [await task for task in waiting]

    assert run(act) == list(range(1, 10))


@pytest.mark.parametrize("begun", [False, True])
def test_who_does_not_wait_any_more_makes_room(begun):
    may = threading.Event()
    model = Counter(may)

    async def act(ask: Any, batcher: Any) -> int:
        gone = ask(model, 1000)
        stays = None if begun else ask(model, 3)
        while batcher.waiting > (not begun):
            await asyncio.sleep(0.001)
        gone.cancel()
        await asyncio.sleep(0)
        stays = stays or ask(model, 3)
        may.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return int(await stays)

    assert run(act, max_batch=1) == 3
    assert len([step for step in model.did if isinstance(step, int)]) < 10
