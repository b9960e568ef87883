"""Text as Go writes it."""

from __future__ import annotations

import pytest

from carboy.dockerfile.gotext import format_duration, parse_duration_ns, plain_list, quote, quote_list


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", '"a"'), ('a"b\\', r'"a\"b\\"'), ("é\n\t", r'"é\n\t"'), ("\x00\x7f", r'"\x00\x7f"'), ("\u200b", r'"\u200b"')],
)
def test_quoted(text: str, expected: str) -> None:
    assert quote(text) == expected


def test_lists() -> None:
    assert quote_list(["a", "b c"]) == '["a" "b c"]'
    assert plain_list(["a", "b c"]) == "[a b c]"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1s", 10**9),
        ("1.5h", 5400 * 10**9),
        ("1h2m3s", 3723 * 10**9),
        ("-10ms", -(10**7)),
        ("+.5s", 5 * 10**8),
        ("1µs", 1000),
    ],
)
def test_durations(text: str, value: int) -> None:
    assert parse_duration_ns(text) == value


@pytest.mark.parametrize("text", ["", "-", "1", "s", "1x", "1.s.", ".s", "1 s", "99999999999h"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="time:"):
        parse_duration_ns(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0s"), (1, "1ns"), (1500, "1.5µs"), (2 * 10**6, "2ms"), (10**9, "1s"), (90 * 10**9, "1m30s"),
        (3600 * 10**9, "1h0m0s"), (15 * 10**8, "1.5s"), (-(10**9), "-1s"),
    ],
)  # fmt: skip
def test_durations_written(value: int, text: str) -> None:
    assert format_duration(value) == text
