"""A function goes with what it uses, as text that stands alone."""

from __future__ import annotations

import functools
import math
import os.path as paths
from collections import Counter

import pytest

from carboy.client.tasks.source import function_source
from carboy.errors import CarboyError

FACTOR = 3
SETTINGS = {"a": [1, 2], "b": None}
OPEN = object()


class Point:
    def __init__(self, x: int) -> None:
        self.x = x * FACTOR


def helper(x: int) -> int:
    return x * FACTOR


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def run(function, *args):
    """Execute the text in an empty world, as the container does."""
    scope: dict = {"__name__": "carboy_task"}
    exec(function_source(function), scope)
    return scope[function.__name__](*args)


def uses_much(x):
    counts = Counter(paths.join("a", "b"))
    return helper(x) + int(math.sqrt(16)) + len(SETTINGS["a"]) + counts["a"] + Point(1).x


def test_what_is_used_goes_along():
    assert run(uses_much, 2) == uses_much(2)


def test_functions_that_use_each_other():
    assert run(even, 10) is True


def test_a_closure():
    base = 5

    def add(x):
        return x + base

    assert run(add, 1) == 6


def decorated_by_nothing_known(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


def test_a_nested_function_uses_a_global():
    def outer(x):
        def inner():
            return helper(x)

        return inner()

    assert run(outer, 2) == 6


def uses_a_thing():
    return OPEN


def test_what_cannot_go_along_is_named():
    with pytest.raises(CarboyError, match="OPEN, which uses_a_thing uses"):
        function_source(uses_a_thing)


def test_a_lambda():
    with pytest.raises(CarboyError, match="lambda"):
        function_source(lambda x: x)
