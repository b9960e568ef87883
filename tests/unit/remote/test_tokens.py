"""Tokens: what is asked of a token server, what of its reply counts, and to which servers no password goes."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from carboy.oci.errors import InvalidDocumentError
from carboy.remote.challenge import Challenge
from carboy.remote.errors import UnreachableError
from carboy.remote.logins import Login
from carboy.remote.settings import Endpoint
from carboy.remote.tokens import LEAST_LIFE_S, check_realm, make_basic, make_scope, parse_token, plan_token_request

REALM = "https://auth.example.com/token"


def challenge(**parameters: str) -> Challenge:
    return Challenge(scheme="bearer", parameters={"realm": REALM, "service": "registry", **parameters})


def test_everybody_asks_by_get() -> None:
    scopes = (make_scope("a/b", "pull", "push"), make_scope("c", "pull"))
    asked = plan_token_request(challenge(), scopes, None)
    assert (asked.authorization, asked.form) == ("", "")
    assert asked.url.startswith(f"{REALM}?")
    assert parse_qs(urlsplit(asked.url).query) == {
        "service": ["registry"],
        "scope": ["repository:a/b:pull,push", "repository:c:pull"],
    }


def test_a_login_goes_in_the_header_and_never_in_the_address() -> None:
    login = Login(user="me", password="pass:wörd")
    asked = plan_token_request(challenge(), (make_scope("a", "pull"),), login)
    assert asked.authorization == make_basic(login) == "Basic bWU6cGFzczp3w7ZyZA=="
    assert parse_qs(urlsplit(asked.url).query)["account"] == ["me"]
    assert "rd" not in urlsplit(asked.url).query.replace("pass", "rd", 0).partition("account")[2]


def test_what_the_challenge_names_comes_first() -> None:
    asked = plan_token_request(challenge(scope="repository:a:pull"), ("repository:a:pull,push",), None)
    assert parse_qs(urlsplit(asked.url).query)["scope"] == ["repository:a:pull", "repository:a:pull,push"]
    # ECR's public registry has one scope for all: once is enough.
    asked = plan_token_request(challenge(scope="aws"), ("aws",), None)
    assert parse_qs(urlsplit(asked.url).query)["scope"] == ["aws"]


def test_an_identity_token_goes_by_post() -> None:
    asked = plan_token_request(challenge(), ("a", "b"), Login(identity_token="idt"))
    assert (asked.url, asked.authorization) == (REALM, "")
    assert parse_qs(asked.form) == {
        "grant_type": ["refresh_token"],
        "service": ["registry"],
        "client_id": ["carboy"],
        "scope": ["a b"],
        "refresh_token": ["idt"],
    }


def test_a_realm_may_have_a_query_of_its_own() -> None:
    realm = Challenge(scheme="bearer", parameters={"realm": f"{REALM}?tenant=1"})
    assert plan_token_request(realm, (), None).url == f"{REALM}?tenant=1"
    assert plan_token_request(realm, ("a",), None).url == f"{REALM}?tenant=1&scope=a"


@pytest.mark.parametrize(
    ("reply", "text", "life_s"),
    [
        ({"token": "t"}, "t", 60),
        ({"access_token": "a"}, "a", 60),
        ({"token": "t", "access_token": "a", "expires_in": 300}, "t", 300),
        ({"token": "t", "expires_in": 1}, "t", 60),
        ({"token": "t", "expires_in": "300"}, "t", 60),
        ({"token": "t", "expires_in": True}, "t", 60),
        ({"token": "t", "expires_in": None, "issued_at": "?"}, "t", 60),
        ({"token": "", "access_token": "a"}, "a", 60),
    ],
)
def test_replies(reply: dict[str, object], text: str, life_s: float) -> None:
    assert LEAST_LIFE_S == 60
    found = parse_token(json.dumps(reply).encode())
    assert (found.text, found.life_s) == (text, life_s)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"[]",
        b"<html>",
        b"{}",
        b'{"token": 1}',
        b'{"token": "a\\r\\nHost: x"}',
        b'{"token": "\xc3\xa9"}',
        b'{"token": null}',
    ],
)
def test_replies_without_a_token(reply: bytes) -> None:
    with pytest.raises(InvalidDocumentError):
        parse_token(reply)


ENDPOINT = Endpoint(registry="registry.example.com", host="registry.example.com")
INSIDE = Endpoint(registry="10.0.0.5:5000", host="10.0.0.5:5000")
INSECURE = Endpoint(registry="127.0.0.1:5000", host="127.0.0.1:5000", insecure=True)


@pytest.mark.parametrize(
    ("realm", "endpoint"),
    [
        (REALM, ENDPOINT),
        ("https://registry.example.com:8443/token", ENDPOINT),
        ("https://10.0.0.5:5000/token", INSIDE),
        ("http://127.0.0.1:5001/token", INSECURE),
        ("https://10.0.0.6/token", INSECURE),
        ("https://8.8.8.8/token", ENDPOINT),
    ],
)
def test_trusted_token_servers(realm: str, endpoint: Endpoint) -> None:
    check_realm(realm, endpoint)


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example.com/token",
        "ftp://auth.example.com/token",
        "//auth.example.com/token",
        "token",
        "https://127.0.0.1/token",
        "https://localhost:8080/token",
        "https://localhost./token",
        "https://a.localhost/token",
        "https://LOCALHOST/token",
        "https://[::1]/token",
        "https://[::ffff:127.0.0.1]/token",
        "https://169.254.169.254/latest/meta-data",
        "https://2852039166/latest/meta-data",
        "https://0xa9fea9fe/latest/meta-data",
        "https://127.1/token",
        "https://10.1.2.3:5000/token",
        "https://192.168.0.1/",
        "https://172.16.0.1/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://0.0.0.0/",
        "https://user@127.0.0.1/token",
    ],
)
def test_no_password_goes_there(realm: str) -> None:
    with pytest.raises(UnreachableError, match="token server that is not trusted") as caught:
        check_realm(realm, ENDPOINT)
    assert 'insecure = true in [registries."registry.example.com"]' in caught.value.hint
