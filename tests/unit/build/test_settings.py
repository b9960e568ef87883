"""carboy.toml and Procfile: what they say, and what is answered when they say it wrongly."""

from __future__ import annotations

import pytest

from carboy.build.settings import parse_procfile, parse_settings
from carboy.errors import CarboyError


def test_everything_that_can_be_said() -> None:
    settings = parse_settings(
        '[run]\ncommand = ["python", "a.py"]\nnetwork = "host"\nenv = {N = 3}\n'
        '[python]\nversion = "3.11"\nrequirements = "deps.txt"\n[system]\npackages = ["libgomp1"]\n'
    )
    assert settings.command == ("python", "a.py")
    assert (settings.network, settings.env) == ("host", {"N": "3"})
    assert (settings.python, settings.requirements, settings.packages) == ("3.11", "deps.txt", ("libgomp1",))


def test_a_line_is_for_the_shell() -> None:
    assert parse_settings('[run]\ncommand = "a && b"\n').command == ("/bin/sh", "-c", "a && b")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[run\n", "not valid TOML", "line"),
        ("[rum]\n", "no key rum", "did you mean run"),
        ("[run]\ncomand = 'x'\n", "no key run.comand", "did you mean run.command"),
        ("[run]\ncommand = 3\n", "wrong type", ""),
        ("[run]\ncommand = []\n", "empty", "python"),
        ("[run]\ncommand = [1]\n", "not a list of strings", "quotes"),
        ("[run]\nnetwork = 'bridge'\n", "no network 'bridge'", "none, host or private"),
        ("[files]\nexclude = ['!x']\n", "files.exclude has '!x'", "include ="),
        ("[files]\ninclude = ['']\n", "files.include has ''", "exclude ="),
        ("run = 1\n", "not a table", "[run]"),
    ],
)
def test_mistakes_are_named(text: str, message: str, hint: str) -> None:
    with pytest.raises(CarboyError) as caught:
        parse_settings(text)
    assert message in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("web: gunicorn app:app -b 0.0.0.0:8000\nworker: x\n", ("gunicorn", "app:app", "-b", "0.0.0.0:8000")),
        ("# nothing\n\nweb : python a.py && b\n", ("/bin/sh", "-c", "python a.py && b")),
        ("web: python a.py $PORT", ("/bin/sh", "-c", "python a.py $PORT")),
        ("no entry here\n", ()),
    ],
)
def test_procfile(text: str, command: tuple[str, ...]) -> None:
    assert parse_procfile(text) == command
