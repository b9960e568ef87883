"""Expansion: every modifier, quotes and escapes, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.words import process

ENV = {
    "A": "alpha",
    "EMPTY": "",
    "P": "/usr/local/lib/libx.so.1.so",
    "STARS": "a*b*c",
    "LINES": "one two  three",
    "KW": "ko*ko",
}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("$A", "alpha"),
        ("${A}", "alpha"),
        ("x${A}y", "xalphay"),
        ("$NONE", ""),
        ("$A.b", "alpha.b"),
        ("$.", "$."),
        ("a$", "a$"),
        ("$1x", "x"),
        ("$12x", "x"),
        ("$@$#$?", ""),
        ("${A:-w}", "alpha"),
        ("${EMPTY:-w}", "w"),
        ("${EMPTY-w}", ""),
        ("${NONE-w}", "w"),
        ("${NONE:-${A}x}", "alphax"),
        ("${NONE:-${ALSO_NONE:-deep}}", "deep"),
        ("${A:+w}", "w"),
        ("${EMPTY:+w}", ""),
        ("${EMPTY+w}", "w"),
        ("${NONE+w}", ""),
        ("${A:?no}", "alpha"),
        ("${EMPTY?no}", ""),
        ("${P#*/}", "usr/local/lib/libx.so.1.so"),
        ("${P##*/}", "libx.so.1.so"),
        ("${P%.so*}", "/usr/local/lib/libx.so.1"),
        ("${P%%.so*}", "/usr/local/lib/libx"),
        ("${P#nothing}", "/usr/local/lib/libx.so.1.so"),
        ("${P%?so}", "/usr/local/lib/libx.so.1"),
        ("${P/so/dylib}", "/usr/local/lib/libx.dylib.1.so"),
        ("${P//so/dylib}", "/usr/local/lib/libx.dylib.1.dylib"),
        (r"${P/\/usr/}", "/local/lib/libx.so.1.so"),
        (r"${STARS//\*/-}", "a-b-c"),
        (r"${STARS#a\*}", "b*c"),
        (r"${STARS%\**}", "a*b"),
        (r"${STARS%%\**}", "a"),
        ("${A//?/x}", "xxxxx"),
        ("${NONE/a/b}", ""),
        ("${KW#ko}", "*ko"),
        ("'$A'", "$A"),
        ('"$A"', "alpha"),
        ("'a'\"b\"c", "abc"),
        (r"abc\tdef", "abctdef"),
        (r'"abc\tdef"', r"abc\tdef"),
        (r"\$A", "$A"),
        (r'"\$A \" \\"', r"$A " + '" ' + "\\"),
        ("it\\'s", "it's"),
        ("trailing\\", "trailing"),
        ("$ÄB", ""),
    ],
)
def test_expansion(word: str, expected: str) -> None:
    assert process(word, ENV).text == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${{A}}", "bad substitution"),
        ("${A", "missing '}'"),
        ("${", "missing '}'"),
        ("${A:-x", "missing '}'"),
        ("${A:#x}", r"unsupported modifier \(:#\)"),
        ("${A:%x}", r"unsupported modifier \(:%\)"),
        ("${A:/x/y}", r"unsupported modifier \(:/\)"),
        ("${A^^}", "unsupported modifier"),
        ("${NONE?}", "NONE: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${NONE:?say so}", "NONE: say so"),
        ("'open", "matching single-quote"),
        ('"open', "matching double-quote"),
        (r"${A#\x}", r"invalid escape"),
        ("${A:-" * 60 + "x" + "}" * 60, "nested too deeply"),
    ],
)
def test_refused(word: str, message: str) -> None:
    with pytest.raises(LanguageError, match=message):
        process(word, ENV)


def test_names_that_were_asked_for() -> None:
    found = process("$A ${NONE:-$EMPTY} '$QUOTED'", ENV)
    assert found.matched == {"A", "EMPTY"}
    assert found.unmatched == {"NONE"}


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("a b", ("a", "b")),
        ("a\\ b", ("a b",)),
        ("'a b' c", ("a b", "c")),
        ("$LINES", ("one", "two", "three")),
        ('"$LINES"', ("one two  three",)),
        ("$NONE", ()),
        ("x$EMPTY y", ("x", "y")),
    ],
)
def test_words(word: str, words: tuple[str, ...]) -> None:
    assert process(word, ENV).words == words


def test_the_other_escape() -> None:
    assert process("`$A\\$A", ENV, escape="`").text == "$A\\alpha"


def test_a_document_keeps_its_quotes() -> None:
    assert process("'$A' \"${A}\"", ENV, skip_quotes=True).text == "'alpha' \"alpha\""


@pytest.mark.parametrize("pattern", ["*a" * 20, "*a*b*c*d*e*f*g*h", "?*" * 10])
def test_no_pattern_is_slow(pattern: str) -> None:
    env = {"X": "a" * 300}
    for operator in ("#", "##", "%", "%%", "/", "//"):
        process(f"${{X{operator}{pattern}z{'/' if operator[0] == '/' else ''}}}", env)


@given(st.text(alphabet="$${}:-+?#%/\\'\"`ab A<*?\n", max_size=40), st.sampled_from("\\`"))
def test_anything_is_expanded_or_refused(word: str, escape: str) -> None:
    with suppress(LanguageError):
        process(word, ENV, escape=escape)
