"""The values of the room: what is wanted, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

CODE = (".py", ".ipynb")
"""Files that run, and may declare packages of their own: scripts and notebooks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """Python packages that a folder asks for, all in pip's format.

    ``requirements`` are the project's own; ``constraints`` versions that others must have, if they are needed; ``allowed`` the
    hashes of all that may be installed ("": no lock says so). ``file`` says so, ``source`` is what people call that, ``python``
    what it asks of the interpreter ("": nothing).
    """

    requirements: str
    file: str
    source: str
    constraints: str = ""
    allowed: str = ""
    python: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A file that counts, or would, and what it is taken for."""

    file: str
    meaning: str
    used: bool = True
