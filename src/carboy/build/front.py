"""Which front end a folder is built with: its Dockerfile, or what is known of folders of Python. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

Front: TypeAlias = Literal["dockerfile", "python"]

SETTINGS = "carboy.toml"
# In the order in which they are looked for where none is named (trap 67).
DOCKERFILES = ("Dockerfile", "dockerfile", "Containerfile")
# repo2docker's: looked at where the folder's top has none.
BINDER_DOCKERFILES = (".binder/Dockerfile", "binder/Dockerfile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A front end, the file that it reads ("" for Python), and why it was chosen."""

    front: Front
    file: str
    reason: str


def choose_front(names: Collection[str], *, settings_front: str = "", file: str = "") -> Choice:
    """Return how a folder with these ``names`` is built, :data:`BINDER_DOCKERFILES` among them where they are there.

    ``file`` is what -f names; ``settings_front`` is ``[build] front`` of a carboy.toml. Else a carboy.toml speaks for Python,
    which is why somebody wrote it; else a Dockerfile is what people expect to be built where there is one.
    """
    if file:
        return Choice(front="dockerfile", file=file, reason="-f names it")
    found = next((name for name in (*DOCKERFILES, *BINDER_DOCKERFILES) if name in names), "")
    if settings_front == "dockerfile":
        return Choice(front="dockerfile", file=found or DOCKERFILES[0], reason=f"{SETTINGS} says so")
    if settings_front == "python":
        return Choice(front="python", file="", reason=f"{SETTINGS} says so")
    if not found:
        return Choice(front="python", file="", reason="there is no Dockerfile")
    if SETTINGS in names:
        return Choice(front="python", file="", reason=f"there is a {SETTINGS} beside the {found}")
    return Choice(front="dockerfile", file=found, reason=f"there is a {found}, and no {SETTINGS}")
