"""What repo2docker's conventions say of a folder beside its packages: ``start`` and ``postBuild``. Pure."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.build.files import is_left_out
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.build.project import ProjectFacts

START = "start"
SHELL = "/bin/sh"
"""What runs a script whose first line names nothing else: as a shell has it, which repo2docker runs them by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostBuildStep:
    """Run a script of the folder on all that is in the image, with a network; what it changes is a layer of its own.

    ``script`` is its path from the folder's top and ``sha256`` the digest of its text; ``args`` is what is executed in
    ``workdir`` with ``env``.
    """

    script: str
    sha256: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    workdir: str
    reason: str

    @property
    def what(self) -> str:
        """The step in a few words."""
        return f"run {self.script}"


def wrap_command(
    facts: ProjectFacts, command: tuple[str, ...], *, app: str, ignore: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the command as ``start`` wraps it, which ends in ``exec "$@"``; unchanged where there is none.

    Its first line says what runs it, so that its mode plays no part. ``app`` is where the folder is in the image, but for what
    is ignored. Raises ``CarboyError`` where the script is.
    """
    if START not in facts.texts:
        return command
    path = "/".join(filter(None, (facts.binder, START)))
    _check_script(path, facts.texts[START], ignore)
    first = facts.texts[START].partition("\n")[0]
    interpreter = shlex.split(first.removeprefix("#!")) if first.startswith("#!") else []
    return (*(interpreter or (SHELL,)), f"{app}/{path}", *command)


def plan_post_build(
    facts: ProjectFacts, *, env: tuple[str, ...], app: str, ignore: tuple[str, ...]
) -> PostBuildStep | None:
    """Return the step that runs the folder's ``postBuild``, or what carboy.toml names instead; None where there is none.

    It is run as the kernel would (execve(2)), whatever its mode, since repo2docker makes it executable first. Raises
    ``CarboyError`` for a script that cannot be run.
    """
    if facts.post_build is None:
        return None
    path, text = facts.post_build
    _check_script(path, text, ignore)
    first = text.partition("\n")[0]
    interpreter = first[2:].strip().split(maxsplit=1) if first.startswith("#!") else []
    return PostBuildStep(
        script=path,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        args=(*(interpreter or (SHELL,)), f"./{path}"),
        env=env,
        workdir=app,
        reason="the folder's own last step, on all that is below",
    )


def _check_script(path: str, text: str, ignore: tuple[str, ...]) -> None:
    """Raise ``CarboyError`` for a script that is not in the image, or that no shell of Linux reads."""
    if is_left_out(path, ignore):
        raise CarboyError(
            f"{path} is to run in the image, and what is left out of it has {path}",
            hint=f"take it back into .carboyignore or .dockerignore: !{path}",
        )
    if text.partition("\n")[0].endswith("\r"):
        raise CarboyError(
            f"{path} has the ends of lines that Windows has, which no shell reads",
            hint=f"write them as Linux does: sed -i 's/\\r$//' {shlex.quote(path)}",
        )
