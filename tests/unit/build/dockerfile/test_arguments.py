"""What the command line says of a build."""

from __future__ import annotations

import pytest

from carboy.build.dockerfile.arguments import (
    ContextSource,
    SecretSource,
    parse_build_args,
    parse_contexts,
    parse_labels,
    parse_secrets,
    parse_ssh,
)
from carboy.errors import CarboyError

ENVIRON = {"A": "1", "TOKEN": "t", "SSH_AUTH_SOCK": "/run/agent"}


def test_build_args_and_labels() -> None:
    assert parse_build_args(["X=a=b", "A", "NONE", "E="], ENVIRON) == {"X": "a=b", "A": "1", "E": ""}
    assert parse_labels(["a=b=c", "d"]) == {"a": "b=c", "d": ""}


def test_contexts() -> None:
    items = ["Lib=../lib", "debian:latest=docker-image://other:1", "src=https://h/a.git#main"]
    assert parse_contexts(items) == {
        "lib": ContextSource(kind="folder", value="../lib"),
        "debian": ContextSource(kind="image", value="other:1"),
        "src": ContextSource(kind="git", value="https://h/a.git#main"),
    }


def test_secrets_and_agents() -> None:
    items = ["id=a,src=f", "id=b,env=TOKEN", "id=TOKEN", "id=c", "type=env,id=d,src=A", "type=file,source=g,id=e"]
    assert parse_secrets(items, ENVIRON) == (
        SecretSource(id="a", path="f"),
        SecretSource(id="b", env="TOKEN"),
        SecretSource(id="TOKEN", env="TOKEN"),
        SecretSource(id="c", path="c"),
        SecretSource(id="d", env="A"),
        SecretSource(id="e", path="g"),
    )
    assert parse_ssh(["default", "x=/y"], ENVIRON) == {"default": "/run/agent", "x": "/y"}


@pytest.mark.parametrize("item", ["=x", "id", "what=x", "id=a,src=b,env=c", "src=b", "id=a,type=x"])
def test_secrets_that_are_wrong(item: str) -> None:
    with pytest.raises(CarboyError) as caught:
        parse_secrets([item], ENVIRON)
    assert caught.value.code == 2


def test_others_that_are_wrong() -> None:
    for wrong in (lambda: parse_build_args(["=x"], {}), lambda: parse_labels(["=x"]), lambda: parse_contexts(["x"])):
        with pytest.raises(CarboyError):
            wrong()
    with pytest.raises(CarboyError, match="oci-layout"):
        parse_contexts(["a=oci-layout:///x"])
    with pytest.raises(CarboyError, match="no agent"):
        parse_ssh(["default"], {})
