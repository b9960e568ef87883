"""Records: frozen, and what is written is what is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.base.record import Record, encode_json

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))


class Point(Record):
    """A record for these tests."""

    name: str
    places: tuple[tuple[str, int], ...] = ()
    size: float = 1.5


@given(VALUES)
def test_what_is_encoded_is_json_of_the_same_value(value: object) -> None:
    assert json.loads(encode_json(value)) == value


@given(TEXTS)
def test_a_text_is_one_line_of_ascii(text: str) -> None:
    encoded = encode_json({"text": text})
    assert encoded.isascii()
    assert "\n" not in encoded


@given(name=TEXTS, places=st.lists(st.tuples(TEXTS, st.integers()), max_size=3), size=st.floats(allow_nan=False))
def test_a_record_comes_back_as_it_was(name: str, places: list[tuple[str, int]], size: float) -> None:
    if size in (float("inf"), float("-inf")):
        size = 0.0
    point = Point(name=name, places=tuple(places), size=size)
    again = Point.from_json(json.loads(point.encode()))
    assert again == point
    assert hash(again) == hash(point)


def test_fields_of_another_version_are_left_out_and_missing_ones_have_their_default() -> None:
    assert Point.from_json({"name": "a", "colour": "red"}) == Point(name="a")


def test_a_record_cannot_be_changed_but_replaced() -> None:
    point = Point(name="a")
    with pytest.raises(AttributeError, match="frozen"):
        point.name = "b"  # type: ignore[misc]
    assert point.replace(name="b") == Point(name="b")
    assert point.name == "a"


@pytest.mark.parametrize(("fields", "message"), [({}, "needs name"), ({"name": "a", "weight": 1}, "has no weight")])
def test_unknown_and_missing_fields_are_told(fields: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Point(**fields)  # type: ignore[arg-type]


def test_what_json_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        encode_json({"values": {1}})


def test_two_classes_are_never_equal() -> None:
    class Other(Record):
        name: str
        places: tuple[tuple[str, int], ...] = ()
        size: float = 1.5

    assert Other(name="a") != Point(name="a")
