"""What repo2docker's conventions say of a folder beside its packages: ``start`` and ``postBuild``. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carboy.build.project import ProjectFacts

START = "start"
POST_BUILD = "postBuild"


def wrap_command(facts: ProjectFacts, command: tuple[str, ...], *, app: str) -> tuple[str, ...]:
    """Return the command as ``start`` wraps it, which ends in ``exec "$@"``; unchanged where there is none.

    Its first line says what runs it, so that its mode plays no part. ``app`` is where the folder is in the image.
    """
    if START not in facts.texts:
        return command
    first = facts.texts[START].partition("\n")[0]
    interpreter = shlex.split(first.removeprefix("#!")) if first.startswith("#!") else []
    return (*(interpreter or ("/bin/sh",)), "/".join(filter(None, (app, facts.binder, START))), *command)


def explain_post_build(facts: ProjectFacts) -> tuple[str, ...]:
    """Return what people are to know of a ``postBuild``, which is not run."""
    if POST_BUILD not in facts.texts:
        return ()
    path = "/".join(filter(None, (facts.binder, POST_BUILD)))
    return (f"{path} is not run: a Dockerfile with a RUN of it builds what it does into the image",)
