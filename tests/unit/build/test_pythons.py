"""Which Python a folder's files ask for."""

from __future__ import annotations

import pytest

from carboy.build.folder.pythons import fits_python, list_asked
from carboy.build.project import ProjectFacts
from carboy.build.settings import Settings
from carboy.errors import CarboyError


def ask(text: str) -> list[tuple[str, str]]:
    facts = ProjectFacts(folder="/f", files=(".python-version",), texts={".python-version": text}, scripts={})
    return list_asked(facts, Settings(), None)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3.11\n", "3.11"),
        ("# ours\n3.11.4  # for now\n3.12\n", "3.11.4"),
        ("cpython@3.11", "3.11"),
        ("python3.11", "3.11"),
        ("3.11-dev", "3.11"),
        ("cpython-3.11.4-linux-x86_64-gnu", "3.11.4"),
        (">=3.10,<3.13", ">=3.10,<3.13"),
    ],
)
def test_version_files_of_pyenv_and_uv(text: str, wanted: str) -> None:
    assert ask(text) == [(wanted, ".python-version")]
    assert fits_python("3.11", wanted)


@pytest.mark.parametrize("text", ["pypy@3.10", "3.13t", "system", "miniconda3-4.7.12", "3.11.4/envs/me"])
def test_interpreters_that_no_image_has_are_told_with_the_file(text: str) -> None:
    with pytest.raises(CarboyError, match=r"\.python-version asks for"):
        ask(text)


def test_what_is_no_version_is_told_with_who_asks() -> None:
    assert fits_python("3.11", "===3.11")
    assert fits_python("3.11", ">=3.10a1")
    with pytest.raises(CarboyError, match=r"setup\.cfg asks for 'x'"):
        fits_python("3.11", "x", where="setup.cfg")
