from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.compose.document import yaml as subject
from carboy.compose.document.nodes import Map, plain, scalar_text
from carboy.compose.document.yaml import parse_yaml, resolve_scalar
from carboy.compose.errors import ComposeError


def read(text: str) -> object:
    (document,) = parse_yaml(text.encode(), file="c.yaml")
    return plain(document)


def failure(text: str | bytes) -> str:
    with pytest.raises(ComposeError) as caught:
        parse_yaml(text if isinstance(text, bytes) else text.encode(), file="c.yaml")
    return caught.value.details


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("False", False),
        ("null", None), ("~", None), ("", None), ("22:22", "22:22"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("017", 15), ("0o17", 15), ("0x1F", 31), ("0b11", 3), ("1_000", 1000), ("-5", -5), ("+5", 5), ("0", 0),
        ("08", 8.0), ("1.10", 1.1), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("1.2.3", "1.2.3"), ("-", "-"), (".", "."),
        ("0x", "0x"), ("1e", "1e"), ("9" * 65, "9" * 65), (".inf", math.inf), ("99999999999999999999999", 1e23),
    ],
)  # fmt: skip
def test_unquoted_values_are_those_of_compose(text: str, value: object) -> None:
    found = resolve_scalar(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1.10", "1.1"),
        ("1e3", "1000"),
        ("true", "true"),
        ("017", "15"),
        ("1e-7", "1e-07"),
        ("1e21", "1e+21"),
        (".inf", "+Inf"),
    ],
)
def test_numbers_are_written_as_go_does(text: str, written: str) -> None:
    (document,) = parse_yaml(f"a: {text}".encode(), file="")
    assert isinstance(document, Map)
    assert scalar_text(document.entries["a"]) == written  # type: ignore[arg-type]


def test_quotes_and_tags_make_text() -> None:
    assert read("""{a: "1", b: 'true', c: !!str 5, d: !!int "5", e: |\n  x\n}""".replace("|\n  x\n", "''")) == {
        "a": "1", "b": "true", "c": "5", "d": 5, "e": "",
    }  # fmt: skip


def test_merge_keys_take_what_is_not_there_and_the_first_wins() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  z: 3\n  <<: [*a, *b]\nd: {'<<': text}\n"
    found = read(text)
    assert isinstance(found, dict)
    assert found["c"] == {"z": 3, "x": 1, "y": 1}
    assert found["d"] == {"<<": "text"}


def test_compose_tags_are_kept() -> None:
    (document,) = parse_yaml(b"a: !reset null\nb: !override [1]\nc: !reset\n", file="")
    assert isinstance(document, Map)
    assert [node.tag for node in document.entries.values()] == ["!reset", "!override", "!reset"]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "first on line 1"),
        ("a: &a [*a]\n", 1, "contains itself"),
        ("a: 1\nb: *no\n", 2, "no anchor &no"),
        ("a: !!python/object:os.system x\n", 1, "has no meaning"),
        ("a:\n  - !Ref x\n", 2, "has no meaning"),
        ("1: a\n", 1, "must be text"),
        ("a: {<<: 5}\n", 1, "takes a mapping"),
        ("a: b: c\n", 1, "mapping values"),
        ("a: [1\n", 2, "expected"),
        ("a: !!int x\n", 1, "not of the type"),
        ("? [a]\n: b\n", 1, "must be text"),
        ("a: 1\n\tb: 2\n", 2, ""),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, part: str) -> None:
    details = failure(text)
    assert details.startswith(f"c.yaml:{line}: ")
    assert part in details


def test_an_alias_bomb_is_stopped_before_it_is_walked() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "aliases counted" in failure("\n".join(levels))


@pytest.mark.slow
def test_caps() -> None:
    assert "deeper" in failure("[" * 70 + "]" * 70)
    assert "nest" in failure("[" * 5000)
    assert "larger" in failure(b" " * (subject.MAX_BYTES + 1))
    assert "more than" in failure("[" + "1," * (subject.MAX_NODES + 1) + "]")
    assert failure(b"a: 1\nb: \xff\n") == "c.yaml:2: it is not UTF-8 text"


@pytest.mark.slow
@given(st.binary(max_size=60) | st.text(alphabet=" \n:-[]{}&*<!|>'\"#%@ab12", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(ComposeError):
        parse_yaml(data, file="c.yaml")


def test_both_of_the_librarys_parsers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x {b: 'c', d: [1, *no]}".replace("*no", "2") + "\ne: *x\nf: |\n  text\ng: >-\n  folded\n  text\n"
    before = read(text)
    monkeypatch.setattr(subject, "_LOADER", subject.yaml.SafeLoader)
    assert read(text) == before
    assert "first on line 1" in failure("a: 1\na: 2\n")
