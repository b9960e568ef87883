from __future__ import annotations

import json

import pytest

from carboy.engine.notebooks.kernels import NotebookKind, choose_kernel, parse_kind
from carboy.errors import CarboyError


def make(metadata: object) -> bytes:
    return json.dumps({"cells": [], "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}).encode()


@pytest.mark.parametrize(
    ("metadata", "language", "kernel"),
    [
        ({"kernelspec": {"name": "ir", "language": "R"}, "language_info": {"name": "x"}}, "R", "ir"),
        ({"language_info": {"name": "python"}}, "python", ""),
        ({"kernelspec": {"name": "ir"}}, "R", "ir"),
        ({"kernelspec": {"name": "../../x", "language": "julia"}}, "julia", ""),
        ({"kernelspec": {"name": "--option"}}, "", ""),
        ({}, "", ""),
        ([], "", ""),
    ],
)
def test_a_notebook_says_its_language(metadata: object, language: str, kernel: str) -> None:
    assert parse_kind(make(metadata)) == NotebookKind(language=language, kernel=kernel)


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_notebook_says_nothing(data: bytes) -> None:
    assert parse_kind(data) == NotebookKind()


def choose(language: str, *kernels: str, name: str = "", conda: bool = False) -> str:
    kind = NotebookKind(language=language, kernel=name)
    return choose_kernel(kind, kernels, notebook="a.ipynb", conda=conda)


def test_the_language_chooses_the_kernel() -> None:
    assert choose("", "python3") == "python3"
    assert choose("R", "python3", "ir") == "ir"
    assert choose("python", "python3", "ir", name="my-own") == "python3"
    assert choose("R", "python3", conda=True) == "ir"
    assert choose("julia", "python3", conda=True, name="julia-1.10") == "julia-1.10"


def test_a_language_that_is_not_there_says_what_to_add() -> None:
    with pytest.raises(CarboyError, match="written in R, and its folder asks for no R") as caught:
        choose("R", "python3")
    assert "install.R" in caught.value.hint
    with pytest.raises(CarboyError, match="written in Python, and its folder asks for no Python") as caught:
        choose("", "ir")
    assert "requirements.txt" in caught.value.hint
    with pytest.raises(CarboyError, match="written in julia, and there are kernels for Python and R only"):
        choose("julia", "python3", "ir", name="julia")
