"""The values of the language's room."""

from __future__ import annotations

import pytest

from carboy.dockerfile.value import Value, replace


class Point(Value):
    x: int
    y: int = 0


class Named(Point):
    name: str


def test_values_are_made_compared_and_changed_by_their_fields() -> None:
    point = Point(x=1)
    assert (point.x, point.y, point) == (1, 0, Point(x=1, y=0))
    assert repr(point) == "Point(x=1, y=0)"
    assert replace(point, y=2) == Point(x=1, y=2)
    assert point != Named(x=1, name="a")
    assert {point, Point(x=1)} == {point}
    assert Named(name="a", x=3).y == 0


def test_values_are_frozen_and_know_their_fields() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        Point(x=1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del Point(x=1).x
    for wrong in ({}, {"x": 1, "z": 2}):
        with pytest.raises(TypeError, match="Point is made with x, y"):
            Point(**wrong)
