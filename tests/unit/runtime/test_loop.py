"""The event loop: descriptors and moments."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.runtime import loop as loop_module
from carboy.runtime.loop import WRITABLE, Loop

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """A clock that stands still until it is told, and a poll(2) that moves it by what it would have waited."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(loop_module, "time", made)
    return made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def test_a_ready_descriptor_is_called_until_it_is_forgotten(pipe: tuple[int, int]) -> None:
    read, write = pipe
    loop, calls = Loop(), []
    loop.watch(read, calls.append)
    assert loop.step(0) == 0
    os.write(write, b"x")
    assert (loop.step(0), loop.step(0)) == (1, 1)
    loop.forget(read)
    loop.forget(read)
    assert loop.step(0) == 0
    assert calls == [read, read]


def test_a_wish_replaces_the_one_before(pipe: tuple[int, int]) -> None:
    _, write = pipe
    loop, calls = Loop(), []
    loop.watch(write, lambda _: calls.append("readable"))
    loop.watch(write, lambda _: calls.append("writable"), WRITABLE)
    loop.step(0)
    assert calls == ["writable"]


def test_one_call_may_forget_what_the_same_step_would_call_next() -> None:
    loop, calls = Loop(), []
    ends = [os.pipe() for _ in range(3)]

    def call(fd: int) -> None:
        calls.append(fd)
        for read, _ in ends:
            loop.forget(read)

    for read, write in ends:
        os.write(write, b"x")
        loop.watch(read, call)
    assert loop.step(0) == 1
    assert len(calls) == 1
    for read, write in ends:
        os.close(read)
        os.close(write)


def test_the_end_of_a_pipe_is_told(pipe: tuple[int, int]) -> None:
    read, write = pipe
    loop, calls = Loop(), []
    loop.watch(read, calls.append)
    os.close(write)
    loop.step(0)
    assert calls == [read]


@given(st.lists(st.integers(0, 50), max_size=20))
def test_moments_come_in_their_order(delays: list[int]) -> None:
    clock, before = Clock(), loop_module.time
    loop_module.time = clock  # type: ignore[assignment]
    try:
        loop, calls = Loop(), []
        for delay_s in delays:
            loop.call_after(delay_s, lambda delay_s=delay_s: calls.append(delay_s))
        for _ in range(101):
            loop.step(0)
            assert all(delay_s <= clock.now_s - 100 + 1e-9 for delay_s in calls)
            clock.now_s += 0.5
        loop.step(0)
        assert calls == sorted(delays)
    finally:
        loop_module.time = before


def test_a_call_is_taken_back(clock: Clock) -> None:
    loop, calls = Loop(), []
    number = loop.call_after(1, lambda: calls.append("no"))
    loop.call_after(1, lambda: calls.append("yes"))
    loop.cancel(number)
    loop.cancel(number)
    loop.cancel(None)
    clock.now_s += 2
    loop.step(0)
    assert calls == ["yes"]


def test_a_call_may_take_back_the_next_one(clock: Clock) -> None:
    loop, calls = Loop(), []
    loop.call_after(1, lambda: (calls.append("first"), loop.cancel(second)))
    second = loop.call_after(1, lambda: calls.append("second"))
    clock.now_s += 2
    loop.step(0)
    assert calls == ["first"]


def test_what_asks_again_without_delay_does_not_hold_the_step(clock: Clock) -> None:
    loop, calls = Loop(), []

    def again() -> None:
        calls.append(1)
        loop.call_after(0, again)

    loop.call_after(0, again)
    for count in range(1, 5):
        assert loop.step(0) == 1
        assert len(calls) == count


def test_a_wait_is_never_shorter_than_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    class Poll:
        def poll(self, timeout_ms: float | None) -> list[tuple[int, int]]:
            waits.append(timeout_ms)
            return []

    loop = Loop()
    loop._poll = Poll()  # type: ignore[assignment]
    loop.step()
    loop.call_after(0.0101, lambda: None)
    loop.step()
    loop.step(0.001)
    assert waits[0] is None, "with nothing to come it sleeps for good"
    assert waits[1] is not None
    assert 10 < waits[1] <= 11
    assert waits[2] == 1
    assert time.monotonic() > 0
