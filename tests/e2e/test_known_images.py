"""Bases by the names that people know: made when they are asked for and not there, as Docker would pull them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.userns]


@pytest.mark.parametrize("verb", ["run", "create"])
def test_nothing_is_made_where_that_is_not_wanted_or_not_possible(carboy: Carboy, verb: str) -> None:
    for words in (("--pull", "never", "debian:bookworm"), ("nobody/nothing:1",), ("debian:bookworm-20240110",)):
        assert "there is no image" in carboy(verb, *words, "true", expect=125).stderr
    assert carboy("images", "-q").stdout == ""
    assert carboy("ps", "-aq").stdout == ""


@pytest.mark.long
@pytest.mark.network
@pytest.mark.timeout(600)
def test_a_base_that_is_not_here_is_made(carboy: Carboy) -> None:
    first = carboy("run", "--rm", "debian:12-slim", "cat", "/etc/debian_version")
    assert first.stdout.startswith("12.")
    assert "is made from its distribution's signed archive" in first.stderr
    again = carboy("run", "--rm", "docker.io/library/debian:12-slim", "cat", "/etc/debian_version")
    assert (again.stdout, again.stderr) == (first.stdout, "")
    name = carboy("create", "-q", "python:3.11", "python", "--version").stdout.strip()
    assert carboy("start", "-a", name).stdout.startswith("Python 3.11.")
