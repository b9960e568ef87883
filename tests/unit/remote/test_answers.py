"""Failures in a registry's own words: shown, but doing nothing to a terminal; and when to ask again."""

from __future__ import annotations

import json

import httpx
import pytest

from carboy.remote.answers import MAX_ERROR_BYTES, Busy, explain, fail, read_delay
from carboy.remote.errors import DeniedError, NotThereError, RegistryError


def answer(status: int, body: bytes = b"", **headers: str) -> httpx.Response:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=body, headers=told)


def say(response: httpx.Response, *, has_login: bool = False) -> Exception:
    with pytest.raises((RegistryError, Busy)) as caught:
        fail(response, "r.example.com", has_login=has_login)
    return caught.value


def errors(*found: object) -> bytes:
    return json.dumps({"errors": found}).encode()


def test_what_the_api_says() -> None:
    error = say(answer(400, errors({"code": "NAME_INVALID", "message": "bad name", "detail": "a b"}, {"code": "X"})))
    assert isinstance(error, RegistryError)
    assert (error.brief, error.details) == ("r.example.com answers 400 Bad Request", "NAME_INVALID: bad name: a b\nX")
    assert error.status == 400


def test_the_hubs_text() -> None:
    """Hub answers 429 with a line of text, no JSON."""
    text = b"You have reached your pull rate limit.\nYou may increase it.\n"
    error = say(answer(429, text, retry_after="7"))
    assert isinstance(error, Busy)
    assert (error.status, error.delay_s) == (429, 7.0)
    assert str(error) == "it answers 429 Too Many Requests: You have reached your pull rate limit."


def test_pages_are_not_shown() -> None:
    error = say(answer(404, b"<html><body>secret page</body></html>", content_type="text/html; charset=utf-8"))
    assert isinstance(error, NotThereError)
    assert error.details == ""


def test_no_control_character_is_passed_on() -> None:
    error = say(answer(400, errors({"code": "\x1b[2J", "message": "a\rb\x07\u202e"})))
    assert isinstance(error, RegistryError)
    assert error.details == "?[2J: a?b??"
    error = say(answer(400, b"\x1b]0;title\x07\xff\n"))
    assert isinstance(error, RegistryError)
    assert "\x1b" not in error.details
    assert explain(ValueError("a\x1bb")) == "a?b"


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'{"errors": null}', b'{"errors": 5}', b'{"errors": [1]}', b'{"errors": "x"}', b"[" * 10_000],
)
def test_any_body_will_do(body: bytes) -> None:
    assert isinstance(say(answer(418, body)), RegistryError)


def test_a_body_is_read_up_to_a_limit() -> None:
    read = []

    def body() -> object:
        for _ in range(1000):
            read.append(1)
            yield b"x" * 65_536

    response = httpx.Response(400, content=body())  # type: ignore[arg-type]
    error = say(response)
    assert isinstance(error, RegistryError)
    assert len(error.details) == 500
    assert len(read) * 65_536 <= MAX_ERROR_BYTES + 2 * 65_536


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_is_told_to_log_in(status: int) -> None:
    error = say(answer(status, errors({"code": "DENIED", "message": "no"})))
    assert isinstance(error, DeniedError)
    assert "carboy login r.example.com" in error.hint
    assert "somebody who may" in say(answer(status), has_login=True).hint  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass(status: int) -> None:
    assert isinstance(say(answer(status)), Busy)


@pytest.mark.parametrize(
    ("headers", "delay_s"),
    [
        ({}, None),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": " 12 "}, 12.0),
        ({"retry_after": "999999999999999999999"}, 3600.0),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "٣"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Sat, 28 Nov 2026 12:00:30 GMT", "date": "Sat, 28 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"retry_after": "Sat, 28 Nov 2026 11:00:00 GMT", "date": "Sat, 28 Nov 2026 12:00:00 GMT"}, 0.0),
        ({"retry_after": "Sat, 28 Nov 2026 12:00:30 GMT"}, None),
        ({"retry_after": "Sat, 28 Nov 2026 12:00:30", "date": "Sat, 28 Nov 2026 12:00:00 GMT"}, None),
    ],
)
def test_when_to_ask_again(headers: dict[str, str], delay_s: float | None) -> None:
    told = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
    assert read_delay(httpx.Response(429, headers=told)) == delay_s  # type: ignore[arg-type]
