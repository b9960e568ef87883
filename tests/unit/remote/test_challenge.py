"""Challenges: whatever a registry writes into ``WWW-Authenticate``, nothing but what it means is read from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.remote.challenge import MAX_HEADER, Challenge, choose_challenge, parse_challenges

WORDS = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789-_.!"), min_size=1, max_size=12)
QUOTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
# One that is a challenge's own, and no "=" at its end, which would be a token68.
SCHEMES = st.sampled_from(["bearer", "basic", "negotiate", "digest", "x-own"])
PARAMETERS = st.dictionaries(WORDS, QUOTABLE, min_size=1, max_size=5)


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(st.tuples(SCHEMES, PARAMETERS), max_size=4), st.sampled_from([", ", ",", " , "]), st.booleans())
def test_what_is_written_is_read(wanted: list[tuple[str, dict[str, str]]], comma: str, together: bool) -> None:
    texts = [
        f"{scheme.title()} " + comma.join(f"{name}={quote(value)}" for name, value in parameters.items())
        for scheme, parameters in wanted
    ]
    found = parse_challenges([comma.join(texts)] if together else texts)
    assert [(one.scheme, dict(one.parameters)) for one in found] == wanted


@given(st.lists(st.text(max_size=200), max_size=3))
def test_no_text_is_too_much(headers: list[str]) -> None:
    for one in parse_challenges(headers):
        assert one.scheme == one.scheme.lower()


def test_commas_in_quotes_belong_to_the_value() -> None:
    text = 'Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push"'
    (found,) = parse_challenges([text])
    assert found.parameters["scope"] == "repository:a/b:pull,push"
    assert found.parameters["service"] == "registry"


@pytest.mark.parametrize(
    "text",
    [
        'Negotiate, Bearer realm="r"',
        'Negotiate YII=, Bearer realm="r"',
        'Negotiate abc/+==,Bearer realm="r", Basic realm="b"',
        'Basic realm="b", Bearer realm="r"',
        'bEARER  Realm = "r"',
        ', ,Bearer realm="r" service="s"',
        "Bearer realm=r",
    ],
)
def test_bearer_beside_others(text: str) -> None:
    chosen = choose_challenge(parse_challenges([text]))
    assert chosen is not None
    assert (chosen.scheme, chosen.parameters["realm"]) == ("bearer", "r")


def test_several_headers_and_what_nobody_can_answer() -> None:
    found = parse_challenges(["Negotiate", 'Basic realm="Registry, of ours"'])
    assert choose_challenge(found) == Challenge(scheme="basic", parameters={"realm": "Registry, of ours"})
    assert choose_challenge(parse_challenges(["Negotiate", "Digest nonce=a"])) is None
    assert choose_challenge(parse_challenges(['Bearer error="invalid_token"'])) is None  # without a realm
    assert choose_challenge(()) is None


def test_the_first_of_two_values_counts_and_the_end_may_be_missing() -> None:
    (found,) = parse_challenges(['Bearer realm="a",realm="b",service="unended'])
    assert dict(found.parameters) == {"realm": "a"}
    assert parse_challenges(['Bearer realm="' + "x" * MAX_HEADER + '"'])[0].parameters == {}
