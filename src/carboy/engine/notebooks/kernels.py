"""Which kernel a notebook has, by the language that it says it is written in: pure, but for reading that."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carboy.base.fs import translate_os_errors
from carboy.build.workbench import PYTHON_KERNEL, R_KERNEL
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_NOTEBOOK_BYTES = 2**28
_LANGUAGES = {"python": PYTHON_KERNEL, "r": R_KERNEL}
_TITLES = {PYTHON_KERNEL: "Python", R_KERNEL: "R"}
_HINTS = {
    PYTHON_KERNEL: "add a requirements.txt with its packages; an empty one says that there are none",
    R_KERNEL: 'add an install.R with its packages, as install.packages("dplyr"); an empty one says that there are none',
}
# What is passed to a program and looked up as a folder's name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookKind:
    """What a notebook says of itself: its ``language`` ("": nothing), and the ``kernel`` it was written with, by name."""

    language: str = ""
    kernel: str = ""


def read_kind(path: str) -> NotebookKind:
    """Return what the notebook at ``path`` says; nothing where it is none, which whoever executes it will tell."""
    with translate_os_errors(f"read {path}"), open(path, "rb") as file:
        data = file.read(MAX_NOTEBOOK_BYTES + 1)
    if len(data) > MAX_NOTEBOOK_BYTES:
        raise CarboyError(
            f"{path} is larger than {MAX_NOTEBOOK_BYTES} bytes", hint="clear its outputs, which is what takes the room"
        )
    return parse_kind(data)


def parse_kind(data: bytes) -> NotebookKind:
    """Return what a notebook's bytes say: of nbformat 4, ``kernelspec`` before ``language_info``."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return NotebookKind()
    metadata = _table(_table(value).get("metadata"))
    spec = _table(metadata.get("kernelspec"))
    name = str(spec.get("name") or "")
    language = str(spec.get("language") or _table(metadata.get("language_info")).get("name") or "")
    if not language:
        language = "R" if name == R_KERNEL else ""
    return NotebookKind(language=language, kernel=name if _NAME.fullmatch(name) else "")


def choose_kernel(kind: NotebookKind, kernels: Collection[str], *, notebook: str, conda: bool) -> str:
    """Return the kernel for a notebook among ``kernels``, those of its folder; conda's packages may bring others.

    Raises ``CarboyError`` for a language that the folder does not have, with what to add.
    """
    language = kind.language or "python"
    kernel = _LANGUAGES.get(language.lower(), "")
    if kernel in kernels:
        return kernel
    if conda and (kind.kernel or kernel):
        return kind.kernel or kernel
    if kernel:
        name = _TITLES[kernel]
        raise CarboyError(f"{notebook} is written in {name}, and its folder asks for no {name}", hint=_HINTS[kernel])
    raise CarboyError(
        f"{notebook} is written in {language}, and there are kernels for Python and R only",
        hint="build a folder with a Dockerfile that has Jupyter and that kernel, or name both in conda's environment.yml",
    )


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
