"""Credential helpers: programs of somebody else's, asked by a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carboy.errors import CarboyError
from carboy.remote.keychain import ask_helper, erase_helper, tell_helper

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "OWN": "1"}


def install(folder: Path, script: str) -> None:
    program = folder / "docker-credential-x"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_it_is_told_on_its_input_and_nowhere_else(tmp_path: Path, environ: dict[str, str]) -> None:
    install(tmp_path, f'echo "$# $1 $OWN" >> {tmp_path}/words; cat >> {tmp_path}/input; echo >> {tmp_path}/input')
    tell_helper("x", {"ServerURL": "s", "Username": "me", "Secret": "canary"}, environ=environ)
    erase_helper("x", "s", environ=environ)
    assert (tmp_path / "words").read_text() == "1 store 1\n1 erase 1\n"
    assert (tmp_path / "input").read_text() == '{"ServerURL": "s", "Username": "me", "Secret": "canary"}\ns\n'


def test_answers(tmp_path: Path, environ: dict[str, str]) -> None:
    install(tmp_path, 'read -r name; echo "{\\"Username\\": \\"$name\\", \\"Secret\\": \\"s\\"}"')
    assert ask_helper("x", "r.example.com", environ=environ) == ("r.example.com", "s")
    install(tmp_path, 'echo "{\\"Username\\": \\"\\", \\"Secret\\": \\"\\"}"')
    assert ask_helper("x", "r.example.com", environ=environ) is None
    install(tmp_path, "echo credentials not found in native keychain; exit 1")
    assert ask_helper("x", "r.example.com", environ=environ) is None
    erase_helper("x", "r.example.com", environ=environ)


@pytest.mark.parametrize(
    "script", ["echo", "echo []", "echo '{}'", 'echo \'{"Username": 1, "Secret": "s"}\'', "echo '{'"]
)
def test_answers_that_are_none(tmp_path: Path, environ: dict[str, str], script: str) -> None:
    install(tmp_path, script)
    with pytest.raises(CarboyError, match="answers what is no login"):
        ask_helper("x", "r.example.com", environ=environ)


def test_a_helper_that_fails_says_why(tmp_path: Path, environ: dict[str, str]) -> None:
    install(tmp_path, "echo the keychain is locked; exit 3")
    for act in (
        lambda: ask_helper("x", "s", environ=environ),
        lambda: tell_helper("x", {"Secret": "canary" * 100_000}, environ=environ),  # nobody reads that
        lambda: erase_helper("x", "s", environ=environ),
    ):
        with pytest.raises(CarboyError, match="ended with status 3") as caught:
            act()
        assert caught.value.details == "the keychain is locked"


@pytest.mark.parametrize("name", ["../x", "x y", "x;y", "", "x\n", "é", "/bin/sh", "x" + "\0"])
def test_a_name_that_is_none_starts_nothing(tmp_path: Path, environ: dict[str, str], name: str) -> None:
    install(tmp_path, "echo started >&2")
    with pytest.raises(CarboyError, match="not the name of a credential helper"):
        ask_helper(name, "s", environ=environ)


def test_one_that_is_not_there(environ: dict[str, str]) -> None:
    with pytest.raises(CarboyError, match="docker-credential-absent is not on the PATH"):
        ask_helper("absent", "s", environ=environ)
