from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.compose.document.dotenv import parse_dotenv, parse_raw_env
from carboy.compose.document.interpolate import MAX_DEPTH, TemplateError, interpolate
from carboy.compose.errors import ComposeError

VARIABLES = {"SET": "value", "EMPTY": "", "OTHER": "o}her$X"}
TEXTS = st.text(alphabet="ab${}:-?+ _A1\n", max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$SET ${SET}", "value value"), ("$SETTER", ""), ("a$$SET", "a$SET"), ("$$$SET", "$value"),
        ("${SET:-d}", "value"), ("${EMPTY:-d}", "d"), ("${NONE:-d}", "d"),
        ("${SET-d}", "value"), ("${EMPTY-d}", ""), ("${NONE-d}", "d"), ("${NONE-}", ""), ("${NONE:-}", ""),
        ("${SET:+r}", "r"), ("${EMPTY:+r}", ""), ("${EMPTY+r}", "r"), ("${NONE+r}", ""),
        ("${SET:?e}", "value"), ("${EMPTY?e}", ""), ("${NONE:-${SET}}", "value"), ("${NONE:-${NO:-${N-deep}}}", "deep"),
        ("${NONE:-a$SET}b", "avalueb"), ("${NONE:-{}}", "{}"), ("${NONE:-:-}", ":-"), ("${SET:-${NONE:?never}}", "value"),
        ("${SET:+${NONE:-x}}", "x"), ("${NONE:-$$}", "$"), ("${OTHER}", "o}her$X"), ("${NONE:-\n}", "\n"), ("}", "}"),
        ("${NONE:-a-b?c+d}", "a-b?c+d"), ("${_x1:-u}", "u"),
    ],
)  # fmt: skip
def test_every_form(text: str, expected: str) -> None:
    assert interpolate(text, VARIABLES).text == expected


@pytest.mark.parametrize(
    "text", ["$", "a$", "$1", "${", "${}", "${SET", "${SET:-", "${1}", "${SET/a/b}", "${SET!}", "$ A", "${SET:-${A}"]
)
def test_what_is_no_variable_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        interpolate(text, VARIABLES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NONE:?give $SET}", "the required variable NONE is not set: give value"),
        ("${EMPTY:?}", "the required variable EMPTY is empty"),
        ("${NONE?no}", "the required variable NONE is not set: no"),
    ],
)
def test_required_variables(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message.replace("$", r"\$")):
        interpolate(text, VARIABLES)


def test_names_that_are_not_set_are_told_once_and_only_when_used() -> None:
    assert interpolate("$A $A ${B} ${C:-} ${SET:-$D}", VARIABLES).unset == ("A", "B")


def test_depth_is_capped() -> None:
    with pytest.raises(TemplateError, match="deeper"):
        interpolate("${A:-" * (MAX_DEPTH + 2) + "}" * (MAX_DEPTH + 2), {})


@pytest.mark.slow
@given(st.text())
def test_doubled_dollars_are_the_text_itself(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}).text == text


@given(TEXTS, st.text(max_size=8))
def test_a_value_is_never_looked_at_again(text: str, value: str) -> None:
    assert interpolate("${V}", {"V": text}).text == text
    assert interpolate("${V:-x}|$V", {"V": value or "y"}).text == f"{value or 'y'}|{value or 'y'}"


@given(TEXTS)
def test_any_text_is_replaced_or_refused_and_leniently_always_replaced(text: str) -> None:
    try:
        strict = interpolate(text, {"A": "1"}).text
    except TemplateError:
        return
    assert interpolate(text, {"A": "1"}, lenient=True).text == strict


# --- .env ---------------------------------------------------------------------------------------------------------


def env(text: str, **environment: str) -> dict[str, str]:
    return parse_dotenv(text.encode(), file=".env", environment=environment)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("V=a b  ", "a b"), ("V = x", "x"), ("export V=x", "x"), ("V: x", "x"), ("V=", ""), ("V=a # c", "a"), ("V=a#b", "a#b"),
        ("V= # c", ""), ("V=#b", "#b"), ("V='a # $X \\n'", "a # $X \\n"), ("V='it\\'s'", "it's"), ('V="a\\nb"', "a\nb"),
        ('V="a\\"b" # c', 'a"b'), ('V="\\$X"', "$X"), ('V="$X-${Y:-d}"', "1-d"), ("V=$X$", "1$"), ("V=pa$$w", "pa$w"),
        ('V="two\nlines"', "two\nlines"), ("V=a\r", "a"), ("V=a=b", "a=b"), ("V=it's", "it's"),
    ],
)  # fmt: skip
def test_lines_of_an_env_file(text: str, value: str) -> None:
    assert env(f"# first\n\n{text}\nW=after", X="1") == {"V": value, "W": "after"}


def test_names_alone_come_from_the_environment_and_later_lines_use_earlier_ones() -> None:
    assert env("A\nB # c\nC=1\nD=${C}2\nE=$X", A="a", X="env") == {"A": "a", "C": "1", "D": "12", "E": "env"}
    assert env("X=file\nY=$X", X="env") == {"X": "file", "Y": "env"}


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\nwhat is this", 2), ("\n\nV='open", 3), ("=x", 1), ('V="a" b', 1), ("A=1\nB=${A:?}\nC=${D:?no}", 3)],
)
def test_wrong_lines_are_named(text: str, line: int) -> None:
    with pytest.raises(ComposeError) as caught:
        env(text)
    assert caught.value.details.startswith(f".env:{line}: ")


def test_raw_files_are_taken_literally() -> None:
    assert parse_raw_env(b"# c\nA='x' # y\n B=$A\n\nC=\n", file="e") == {"A": "'x' # y", "B": "$A", "C": ""}
    with pytest.raises(ComposeError):
        parse_raw_env(b"A B=1\n", file="e")


def test_a_byte_order_mark_is_no_name() -> None:
    assert env("\ufeffV=x") == {"V": "x"}


@given(st.text(max_size=60))
def test_any_env_file_is_read_or_refused(text: str) -> None:
    with suppress(ComposeError):
        env(text)


@pytest.mark.slow
@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,5}", fullmatch=True), st.text(max_size=20).filter(lambda t: "\r" not in t)
    )
)
def test_what_was_quoted_comes_back(values: dict[str, str]) -> None:
    def quote(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'

    text = "".join(f"{name}={quote(value)}\n" for name, value in values.items())
    assert env(text) == values
